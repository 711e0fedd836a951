//! What stops the robot, as a topic tells it.

/// Types of the topic: each Empty, and each Bool that turns true, is something right before the robot.
pub const BLOCKED_TYPES: [&str; 2] = ["std_msgs/msg/Empty", "std_msgs/msg/Bool"];

/// A bumper that goes on saying whether it is pressed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bumper {
    was_pressed: bool,
}

impl Bumper {
    /// Takes what it says; whether that is news of something that stops the robot.
    pub fn take(&mut self, is_pressed: bool) -> bool {
        let is_news = is_pressed && !self.was_pressed;
        self.was_pressed = is_pressed;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressed_is_news_once() {
        let mut bumper = Bumper::default();
        let said = [false, true, true, false, true];
        assert_eq!(
            said.map(|is_pressed| bumper.take(is_pressed)),
            [false, true, false, false, true]
        );
    }
}
