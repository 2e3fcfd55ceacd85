//! Standard input and output as the two system calls they are.
//!
//! Those of the standard library come with buffers and what flushes them at the end, which a program that reads once and
//! writes once pays for in pages of memory.

use std::io::{self, Read, Write};

/// Standard input. Each read is one read(2).
pub struct Input;

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// Standard output. Each write is one write(2).
pub struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
