//! What the tests that boot an image share: building it, and QEMU with a deadline.
#![allow(dead_code, reason = "each test uses a part")]

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(120);
/// QEMU's exit status when the guest has written 0x10 to isa-debug-exit: it has ended in order.
pub(crate) const ORDERLY: i32 = 0x10 << 1 | 1;
/// When it has written 0x11: after a bug check.
pub(crate) const BUG_CHECK: i32 = 0x11 << 1 | 1;

/// Ends a test that cannot run here.
pub(crate) fn skip(reason: &str) -> ExitCode {
    println!("SKIPPED, because {reason}");
    ExitCode::SUCCESS
}

/// Ends a test that has failed.
pub(crate) fn fail(reason: &str) -> ExitCode {
    println!("FAILED: {reason}");
    ExitCode::FAILURE
}

/// What building and booting an image needs.
pub(crate) struct Build {
    qemu: PathBuf,
    source: PathBuf,
}

impl Build {
    /// Finds it, or says what is missing.
    pub(crate) fn ready() -> Result<Self, String> {
        let qemu = env::var_os("RIG_QEMU").ok_or("RIG_QEMU names no QEMU")?;
        let source = library_source().ok_or("the standard library's source is not there (rustup component add rust-src)")?;
        Ok(Self { qemu: qemu.into(), source })
    }

    /// Builds the image: the one that rig builds, in the same folder, or one with other features in a folder of its own, for the outer
    /// cargo may hold the usual one.
    pub(crate) fn image(&self, features: &[&str]) -> Result<PathBuf, String> {
        let target = match features {
            [] => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/guest"),
            _ => Path::new(env!("CARGO_TARGET_TMPDIR")).join("self-test"),
        };
        let arguments = "build --quiet --package metal --bin ntlet --profile guest --target x86_64-unknown-none \
                         -Z build-std=core,alloc,compiler_builtins -Z build-std-features=compiler-builtins-mem";
        let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(arguments.split_whitespace())
            .args(features.iter().flat_map(|feature| ["--features", feature]))
            .arg("--target-dir")
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &self.source)
            .env_remove("RUSTFLAGS")
            .status()
            .map_err(|error| format!("cargo cannot be started: {error}"))?;
        let image = target.join("x86_64-unknown-none/guest/ntlet");
        if status.success() { Ok(image) } else { Err(format!("the image does not build: {status}")) }
    }
}

/// Where build-std finds its source: where cargo is told to look, or in the toolchain.
fn library_source() -> Option<PathBuf> {
    if let Some(told) = env::var_os("__CARGO_TESTS_ONLY_SRC_ROOT") {
        return Some(PathBuf::from(told));
    }
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).join("lib/rustlib/src/rust/library");
    root.join("core").is_dir().then_some(root)
}

/// Most bytes of the image that are loaded into the guest's memory from its file.
const LARGEST_IMAGE: u64 = 2 << 20;

/// Says how much of an image is loaded, and refuses one that is too large. Debug information is not loaded.
pub(crate) fn check_size(image: &Path) -> Result<(), String> {
    let file = std::fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let size = loaded_size(&file).ok_or_else(|| format!("{} is no ELF file of 64 bits", image.display()))?;
    println!("image: {size} bytes are loaded, {LARGEST_IMAGE} at most");
    if size <= LARGEST_IMAGE { Ok(()) } else { Err(format!("{size} bytes of the image are loaded, more than {LARGEST_IMAGE}")) }
}

/// Bytes of the file that its program headers load.
fn loaded_size(file: &[u8]) -> Option<u64> {
    const LOAD: u64 = 1;
    let number = |at: usize, bytes: usize| {
        let field = file.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    if file.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (start, size, count) = (number(32, 8)? as usize, number(54, 2)? as usize, number(56, 2)? as usize);
    let headers = (0..count).map(|index| start + index * size);
    headers.filter(|&at| number(at, 4) == Some(LOAD)).map(|at| number(at + 32, 8)).sum()
}

/// Files as the archive that the kernel is handed.
pub(crate) fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_slice()).expect("names are short, and memory does not fail");
    }
    archive.into_inner().expect("memory does not fail")
}

/// One boot.
pub(crate) struct Boot<'a> {
    pub(crate) image: &'a Path,
    pub(crate) archive: &'a Path,
    /// More of QEMU's words.
    pub(crate) arguments: &'a str,
    pub(crate) command_line: &'a str,
}

/// What a guest has said so far.
#[derive(Default)]
pub(crate) struct Log {
    text: Mutex<String>,
    grown: Condvar,
}

impl Log {
    /// Waits until the guest has said something so many times.
    pub(crate) fn wait_for(&self, text: &str, times: usize, patience: Duration) -> Result<(), String> {
        let log = self.text.lock().expect("no holder panics");
        let waits = |log: &mut String| log.matches(text).count() < times;
        let (log, result) = self.grown.wait_timeout_while(log, patience, waits).expect("no holder panics");
        if result.timed_out() { Err(format!("the guest has not said {text:?} {times} times; its log:\n{log}")) } else { Ok(()) }
    }

    fn read(&self, mut from: impl Read) {
        let mut block = [0; 4096];
        // An error ends the text; what is missing shows in the result.
        while let Ok(length @ 1..) = from.read(&mut block) {
            self.text.lock().expect("no holder panics").push_str(&String::from_utf8_lossy(&block[..length]));
            self.grown.notify_all();
        }
    }
}

impl Boot<'_> {
    /// QEMU's exit status and the guest's log.
    pub(crate) fn run(&self, build: &Build) -> Result<(i32, String), String> {
        self.run_with(build, |_| Ok(()))
    }

    /// As [`Boot::run`]; `meanwhile` does something to the machine while it runs.
    pub(crate) fn run_with(
        &self,
        build: &Build,
        meanwhile: impl FnOnce(&Log) -> Result<(), String>,
    ) -> Result<(i32, String), String> {
        let common = "-accel tcg -machine q35 -m 256M -nodefaults -display none -no-reboot -serial stdio \
                      -device isa-debug-exit,iobase=0xf4,iosize=0x04";
        let mut child = Command::new(&build.qemu)
            .args(common.split_whitespace())
            .args(self.arguments.split_whitespace())
            .arg("-kernel")
            .arg(self.image)
            .arg("-initrd")
            .arg(self.archive)
            .arg("-append")
            .arg(self.command_line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", build.qemu.display()))?;
        let output = child.stdout.take().expect("stdout was asked for");
        let log = Log::default();
        let (done, status) = std::thread::scope(|scope| {
            scope.spawn(|| log.read(output));
            let done = meanwhile(&log);
            if done.is_err() {
                // It has failed already: how the guest would end says no more.
                let _ = child.kill();
            }
            (done, wait(&mut child))
        });
        let log = log.text.into_inner().expect("no holder panics");
        done?;
        match status {
            Some(status) => Ok((status, log)),
            None => Err(format!("no end after {DEADLINE:?}; the guest's log:\n{log}")),
        }
    }
}

/// The exit status; `None` when the deadline came first. The child is gone either way.
fn wait(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may have ended by itself meanwhile: then there is nothing to kill.
    let _ = child.kill();
    let _ = child.wait();
    None
}
