//! The system calls that no safe interface offers: the only unsafe code of the project, each with its proof.
#![expect(unsafe_code, reason = "see each function")]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the child trace itself (PTRACE_TRACEME) and keep its addresses (ADDR_NO_RANDOMIZE): it stops at its exec.
#[cfg(target_os = "linux")]
pub(crate) fn traced(command: &mut Command) -> &mut Command {
    let before_exec = || {
        let same = nix::sys::personality::get()? | nix::sys::personality::Persona::ADDR_NO_RANDOMIZE;
        // Without it call sites have other addresses at each run; everything else works.
        nix::sys::personality::set(same).ok();
        nix::sys::ptrace::traceme()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called. personality(2) and ptrace(2) are
    // plain system calls; nothing here allocates, locks or touches memory that is shared with other threads.
    unsafe { command.pre_exec(before_exec) }
}

/// Shuts a mounted ext4 or xfs file system down without flushing its log, as a power cut would
/// (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: both 0x8004587d with the flag NOLOGFLUSH, 2). `dir` is open on it.
#[cfg(target_os = "linux")]
pub(crate) fn cut_power(dir: BorrowedFd<'_>) -> io::Result<()> {
    struct GoingDown(u32);
    // SAFETY: the ioctl reads one u32 from the pointer and keeps nothing; `self.0` lives across the call.
    unsafe impl rustix::ioctl::Ioctl for GoingDown {
        type Output = ();
        const IS_MUTATING: bool = false;
        fn opcode(&self) -> rustix::ioctl::Opcode {
            0x8004_587d
        }
        fn as_ptr(&mut self) -> *mut core::ffi::c_void {
            (&raw mut self.0).cast()
        }
        unsafe fn output_from_ptr(
            _: rustix::ioctl::IoctlOutput,
            _: *mut core::ffi::c_void,
        ) -> rustix::io::Result<Self::Output> {
            Ok(())
        }
    }
    // SAFETY: the opcode is the one the argument was made for, on file systems that know it; others refuse with ENOTTY.
    unsafe { rustix::ioctl::ioctl(dir, GoingDown(2)) }?;
    Ok(())
}
