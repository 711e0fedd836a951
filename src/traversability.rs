//! What a class of pixels means for a robot.

use serde::{Deserialize, Serialize};

/// What a class means for a robot; the ids of the traversability mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Traversability {
    /// It can be driven on.
    Traversable = 0,
    /// Slowly.
    Caution = 1,
    /// It cannot be passed.
    Obstacle = 2,
    /// Sky and whatever else is out of reach.
    Background = 3,
}

impl Traversability {
    /// All of them, by id.
    pub const ALL: [Self; 4] = [Self::Traversable, Self::Caution, Self::Obstacle, Self::Background];

    /// The id in the mask.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Whether an id of the mask is ground: what can be driven on, be it slowly.
    pub fn is_ground(id: u8) -> bool {
        id == Self::Traversable.id() || id == Self::Caution.id()
    }

    /// The name in manifests, parameters and `label_info`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traversable => "traversable",
            Self::Caution => "caution",
            Self::Obstacle => "obstacle",
            Self::Background => "background",
        }
    }
}
