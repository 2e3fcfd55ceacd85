//! What is measured, as data.

use crate::report::Chapter;

mod put;

/// All chapters, in the order they are run and told of.
pub const ALL: &[Chapter] = &[put::CHAPTER];
