//! What a serving process may still do: talk on the descriptors it has, map memory, keep time. Files, networks and programs are closed to it.
//!
//! Landlock takes the file system away (but for removing the socket's own file), seccomp all system calls that serving does not need. A
//! call that is not on the list ends the process with a line that names it; `--no-sandbox` is for strace and the like.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Exit status of a process that tried what it may not.
pub const EXIT_STATUS: i32 = 3;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Landlock's refusal.
    #[error("sandbox: landlock: {0}; --no-sandbox serves without")]
    Landlock(#[from] landlock::RulesetError),
    /// The socket's folder cannot be opened.
    #[error("sandbox: {0}; --no-sandbox serves without")]
    Folder(#[from] landlock::PathFdError),
    /// Seccomp's refusal.
    #[error("sandbox: seccomp: {0}; --no-sandbox serves without")]
    Filter(#[from] seccompiler::Error),
    /// The filter cannot be built for this machine.
    #[error("sandbox: seccomp: {0}; --no-sandbox serves without")]
    Backend(#[from] seccompiler::BackendError),
    /// No handler for SIGSYS.
    #[error("sandbox: cannot handle SIGSYS: {0}; --no-sandbox serves without")]
    Signal(std::io::Error),
}

/// System calls of a process that serves.
const ALLOWED: &[i64] = &[
    // Descriptors that are there.
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getsockopt,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
    // New ones without a name in any file system or network.
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_socketpair,
    libc::SYS_timerfd_create,
    // Waiting and time.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, signals and the end.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_prctl,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    // Removing the socket's file; Landlock says where.
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
];

/// Give up everything that serving does not need. Call when all is open and before other threads start. `socket` is the socket's own
/// file, which may still be removed.
pub fn enter(socket: Option<&Path>) -> Result<(), SandboxError> {
    let mut rules =
        Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.handle_access(AccessNet::from_all(ABI::V5))?.create()?;
    if let Some(socket) = socket {
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::RemoveFile))?;
    }
    let status = rules.restrict_self()?;
    tracing::debug!(?status, "landlock");
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<_, _> = ALLOWED.iter().map(|&number| (number, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, architecture)?;
    let program: BpfProgram = filter.try_into()?;
    vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, stopped)
        .map_err(|error| SandboxError::Signal(std::io::Error::from_raw_os_error(error.errno())))?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// Say which system call was tried, and end. Runs in a signal handler: no allocation, no locks.
extern "C" fn stopped(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: for SIGSYS the kernel fills in `_sigsys`: behind three ints and padding lie the address of the call and its number.
    let number = unsafe { info.cast::<u8>().add(24).cast::<i32>().read_unaligned() };
    let mut digits = [0; 12];
    let parts = [
        "device-model: sandbox: system call ",
        format_number(number, &mut digits),
        " (",
        name(i64::from(number)),
        ") is not allowed: the model is stopped. --no-sandbox serves without a sandbox\n",
    ];
    for part in parts {
        // SAFETY: the buffer is valid for reads of its length.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(EXIT_STATUS) }
}

fn name(number: i64) -> &'static str {
    match number {
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => "open",
        libc::SYS_openat | libc::SYS_openat2 => "open a file",
        libc::SYS_socket => "create a socket",
        libc::SYS_connect => "connect a socket",
        libc::SYS_bind => "bind a socket",
        libc::SYS_execve | libc::SYS_execveat => "run a program",
        _ => "see the table of system calls",
    }
}

fn format_number(number: i32, digits: &mut [u8; 12]) -> &str {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    // Digits are ASCII, so this cannot fail; a handler must not panic in any case.
    std::str::from_utf8(&digits[at..]).unwrap_or("?")
}
