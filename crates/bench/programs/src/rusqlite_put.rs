//! A record into SQLite, in one shot: what a runner would do that kept its records in a database.
//!
//! `rusqlite-put FILE`: opens or makes the database, WAL and FULL, and inserts what is on stdin.

use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    match put() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rusqlite-put: {error}");
            ExitCode::FAILURE
        }
    }
}

fn put() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args_os().nth(1).ok_or("FILE")?;
    let mut record = Vec::new();
    std::io::stdin().read_to_end(&mut record)?;
    let database = rusqlite::Connection::open(file)?;
    database.busy_timeout(std::time::Duration::from_secs(10))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute("CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, body BLOB NOT NULL)", ())?;
    database.execute("INSERT INTO record (body) VALUES (?1)", [record])?;
    Ok(())
}
