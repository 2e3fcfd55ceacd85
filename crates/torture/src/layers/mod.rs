//! The layers, the longest first: they run side by side.

use crate::layer::Layer;

/// All of them.
pub(crate) static ALL: &[Layer] = &[];
