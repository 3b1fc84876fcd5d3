//! Where pictures lie.
use super::images::Pixels;
use serde::{Deserialize, Serialize};

/// Where the pixels of a picture lie among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub offset: u64,
    pub height: u32,
    pub width: u32,
    pub channels: u8,
}

impl Extent {
    /// Bytes of the picture.
    pub fn bytes(&self) -> usize {
        self.height as usize * self.width as usize * usize::from(self.channels)
    }

    /// The picture with these bytes.
    pub fn pixels(&self, bytes: Vec<u8>) -> Pixels {
        let Self { height, width, channels, .. } = *self;
        let channels = channels.into();
        Pixels { height: height as usize, width: width as usize, channels, bytes }
    }
}
