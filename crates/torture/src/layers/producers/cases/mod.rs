//! The tables of cases, by what is hostile about them.

mod ids;
mod json;
mod members;
mod names;
mod objects;
mod places;
mod sessions;
mod text;

use super::case::Case;

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    let tables = [
        objects::CASES,
        names::CASES,
        ids::CASES,
        json::CASES,
        members::CASES,
        sessions::CASES,
        text::CASES,
        places::CASES,
    ];
    tables.into_iter().flatten()
}
