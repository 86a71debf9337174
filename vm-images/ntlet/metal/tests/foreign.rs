//! Drivers and a program that somebody else could have written: in C, against headers of their own, compiled by clang and linked by lld.
//! They load on ntlet and work; and what drivers do wrong ends in the bug check that the documentation names, within a deadline.
//!
//! Needs a QEMU, named by RIG_QEMU, the standard library's source, and clang and lld. Where one is missing the test says so and is
//! skipped. It is a program of its own, for the test harness has no word for "skipped". Names as its argument, with commas: those guests alone.

#[path = "foreign/cases.rs"]
mod cases;
#[path = "foreign/compile.rs"]
mod compile;
#[path = "foreign/imports.rs"]
mod imports;
mod machine;
#[path = "foreign/slot.rs"]
mod slot;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{BOOT, CASES, Case, End, STARTED};
use compile::{CHECKED_DRIVER, Compiler, DRIVER, PROGRAM, Product};
use imports::{FRAMEWORK, KERNEL, LIBRARY, MORE, PROGRAM_IMPORTS, SERVICES, WDK, WMI_LIBRARY};
use machine::{Boot, Build, fail, skip};

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let build = match Build::ready() {
        Ok(build) => build,
        Err(reason) => return skip(&reason),
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let Some(compiler) = Compiler::find(source, folder) else { return skip("clang or lld is not there") };
    let image = match build.image(&[]) {
        Ok(image) => image,
        Err(reason) => return fail(&reason),
    };
    if let Err(reason) = machine::check_size(&image) {
        return fail(&reason);
    }
    let wanted = env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| wanted.as_ref().is_none_or(|names| names.split(',').any(|name| case.name == name))).collect();
    let failures = run_all(&cases, |case| run(case, &compiler, &build, &image));
    if failures.is_empty() { ExitCode::SUCCESS } else { fail(&failures.join("\n")) }
}

/// Runs every case, as many at a time as there are processors; what failed, and why.
fn run_all(cases: &[&Case], run: impl Fn(&Case) -> Result<(), String> + Sync) -> Vec<String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = run(case);
            println!("foreign: {}: {}", case.name, if result.is_ok() { "as expected" } else { "FAILED" });
            if let Err(reason) = result {
                failures.lock().expect("no holder panics").push(format!("{}: {reason}", case.name));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(worker);
        }
    });
    failures.into_inner().expect("no holder panics")
}

/// The files of a case's guest.
fn files(case: &Case, compiler: &Compiler) -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let kernel = ("ntoskrnl.exe", KERNEL);
    let driver = |name, source, defines, libraries: &[(&str, &str)]| {
        let product = Product { name, sources: &[source, "support.c"], defines, options: DRIVER, libraries };
        compiler.make(&product).map(|made| (name, made.to_vec()))
    };
    let program = Product {
        name: "foreign.exe",
        sources: &["program.c"],
        defines: &[case.program, &["-fno-stack-protector"]].concat(),
        options: PROGRAM,
        libraries: &[("ntdll.dll", PROGRAM_IMPORTS)],
    };
    let mut files = vec![
        driver("foreign.sys", "wdm.c", case.wdm, &[kernel])?,
        driver("foreignkmdf.sys", "kmdf.c", case.kmdf, &[kernel, ("WDFLDR.SYS", FRAMEWORK)])?,
        ("foreign.exe", compiler.make(&program)?.to_vec()),
        ("foreign.inf", compiler.source("foreign.inf")?),
    ];
    if case.is_damaged {
        let half = files[0].1.len() / 2;
        files[0].1.truncate(half);
        files[3].1 = b"[Version\n]=%%%,\"\x00\xff\n[Manufacturer]\n=,,=%x%\n".to_vec();
    }
    if case.has_wdk {
        let libraries = [("ntoskrnl.exe", WDK), ("WMILIB.SYS", "WmiSystemControl"), ("HAL.dll", "HalGetBusDataByOffset")];
        files.push(driver("foreignwdk.sys", "wdk.c", &[], &libraries)?);
        let more = Product {
            name: "foreignmore.sys",
            sources: &["more.c", "support.c"],
            defines: &[],
            options: CHECKED_DRIVER,
            libraries: &[("ntoskrnl.exe", MORE)],
        };
        files.push((more.name, compiler.make(&more)?.to_vec()));
        files.push(driver("foreignservices.sys", "services.c", &[], &[("ntoskrnl.exe", SERVICES), ("WMILIB.SYS", WMI_LIBRARY)])?);
    }
    if let Some(defines) = case.library {
        let libraries = [("ntoskrnl.exe", "DbgPrint RtlInitUnicodeString KeBugCheckEx"), ("WDFLDR.SYS", LIBRARY)];
        files.push(driver("foreignlib.sys", "library.c", defines, &libraries)?);
    }
    if let Some(defines) = case.pnp {
        files.push(driver("foreignpnp.sys", "pnp.c", defines, &[kernel])?);
        let inf = compiler.source(if case.is_in_slot || case.has_card { "foreignpci.inf" } else { "foreignpnp.inf" })?;
        files.push(("foreignpnp.inf", inf));
    }
    Ok(files)
}

fn run(case: &Case, compiler: &Compiler, build: &Build, image: &Path) -> Result<(), String> {
    let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign").join(format!("{}.tar", case.name));
    std::fs::write(&archive, machine::archive(&files(case, compiler)?)).map_err(|error| error.to_string())?;
    let wdk = if case.has_wdk { ",foreignmore.sys,foreignwdk.sys,foreignservices.sys" } else { "" };
    let library = if case.library.is_some() { "framework=foreignlib.sys " } else { "" };
    let socket = archive.with_extension("socket");
    let arguments = match (case.is_in_slot, case.most_instructions) {
        (true, _) => slot::arguments(&socket),
        // QEMU cannot count while an interrupt controller is written to by instructions of its own.
        (false, Some(_)) => "-smp 2 -cpu max,-x2apic -icount shift=0,sleep=off".to_owned(),
        (false, None) if case.has_card => "-smp 2 -cpu max -device edu".to_owned(),
        (false, None) => format!("-smp {} -cpu max", case.processors),
    };
    let boot = Boot {
        image,
        archive: &archive,
        arguments: &arguments,
        command_line: &format!("{library}services=foreign.sys{wdk} suite=foreign.exe {}", case.words),
    };
    let (status, log) =
        boot.run_with(build, |log| if case.is_in_slot { slot::eject_and_return(&socket, log) } else { Ok(()) })?;
    let (wanted, texts) = match case.end {
        End::Orderly(texts) => (machine::ORDERLY, texts),
        End::BugCheck(texts) => (machine::BUG_CHECK, texts),
    };
    match texts.iter().find(|text| !log.contains(**text)) {
        Some(text) => Err(format!("the guest does not say {text:?}; its log:\n{log}")),
        None if log.contains("foreign: FAILED") => Err(format!("a check failed; the guest's log:\n{log}")),
        None if case.most_instructions.is_some_and(|most| boot_takes(&log).is_none_or(|count| count > most)) => {
            Err(format!("the boot takes {:?} instructions, more than {BOOT}; the guest's log:\n{log}", boot_takes(&log)))
        }
        None if status != wanted => Err(format!("QEMU ended with {status} instead of {wanted}; the guest's log:\n{log}")),
        None => Ok(()),
    }
}

/// Nanoseconds, and so instructions, until the driver said that it was started, by the time in front of that line.
fn boot_takes(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains(STARTED))?;
    let (seconds, micros) = line.strip_prefix('[')?.split_once(' ')?.0.split_once('.')?;
    let count = (seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?) * 1000;
    println!("boot: {} million instructions until a driver is started, waits included", count / 1_000_000);
    Some(count)
}
