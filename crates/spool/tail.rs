//! The end of the journal as lines with a meaning, and what is added to it: for the chart of a day, and for those who
//! watch. A line that is none of ours is passed over, for the journal only explains.

use spooldir::Spool;
use spooldir::follow::Follower;
use spooldir::journal::Line;

/// A place in the journal.
#[derive(Debug)]
pub struct Tail(Follower);

impl Tail {
    /// A place before the last `first` bytes of each of the last two days.
    pub fn new(first: u64) -> Tail {
        Tail(Follower::new(first))
    }

    /// Shows each whole line that was added, oldest first.
    pub fn read_on(&mut self, spool: &Spool, mut see: impl FnMut(Line)) {
        self.0.read_on(spool, &mut |text| {
            if let Ok(line) = serde_json::from_slice(text) {
                see(line);
            }
        });
    }

    /// Whether the first look left out the beginning of a file.
    pub fn is_cut(&self) -> bool {
        self.0.is_cut
    }
}
