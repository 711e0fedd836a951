//! One camera's way from the mask to the ground, with all that is kept from frame to frame.

use crate::geometry::InputTransform;

use super::beams::{BeamTable, Outline, Walk, WalkRules};
use super::camera_model::CameraModel;
use super::grid::{GridFromPicture, GroundGrid};
use super::reason::Reason;
use super::stance::Stance;

/// Walks the ground of one camera's frames.
#[derive(Debug, Default)]
pub struct Projector {
    table: Option<BeamTable>,
    outline: Option<Outline>,
    walk: Walk,
    /// Whether the last frame was walked.
    is_walked: bool,
}

impl Projector {
    /// Walks the ground of a frame. The table of where beams lie in the picture is kept while the lens,
    /// the camera's stance and the rules stay.
    ///
    /// # Errors
    /// [`Reason`] if the frame shows no ground that could be walked.
    pub fn run(
        &mut self,
        camera: &CameraModel,
        stance: &Stance,
        transform: &InputTransform,
        grid: &GroundGrid,
        rules: &WalkRules,
    ) -> Result<(&BeamTable, &Walk), Reason> {
        self.is_walked = false;
        let map = GridFromPicture::new(transform, grid.size);
        let (kept, outline) = (&mut self.table, &mut self.outline);
        let table = BeamTable::keep(kept, outline, camera, stance, &map, rules)?;
        self.walk.run(table, grid);
        self.is_walked = true;
        Ok((table, &self.walk))
    }

    /// What the last frame's walk met; `None` where it was not walked.
    pub fn last(&self) -> Option<(&BeamTable, &Walk)> {
        self.table.as_ref().filter(|_| self.is_walked).map(|table| (table, &self.walk))
    }

    /// Forgets the last frame.
    pub fn forget(&mut self) {
        self.is_walked = false;
    }
}
