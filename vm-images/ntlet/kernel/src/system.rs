//! The system's life: archive, registry, devices, the program, and the way down.

use wdf_sys::NTSTATUS;
use wdf_sys::wdm::constants::*;
use wdf_sys::wdm::functions::KeWaitForSingleObject;

use crate::archive::Archive;
use crate::entry::Boot;
use crate::hal::Ending;
use crate::io::{shutdown, watch};
use crate::memory::contiguous;
use crate::object::ObjectRef;
use crate::pnp::{engine, enumerate, install, remove, root, service, start};
use crate::process::{self, PROCESS, Process};
use crate::{boot, hal, power, registry, serial};

/// Value of a word `key=value` of the kernel command line.
fn word<'a>(command_line: &'a str, key: &str) -> Option<&'a str> {
    command_line
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// The files that a word of the kernel command line lists.
fn files(boot: &Boot, key: &str) -> impl Iterator<Item = &'static str> + use<> {
    word(boot.command_line, key).unwrap_or_default().split(',').filter(|file| !file.is_empty())
}

/// Starts the drivers that are to be there before any other: a framework that registers with the loader.
fn start_framework(boot: &Boot) -> Result<(), (&'static str, NTSTATUS)> {
    boot::stage("starting the framework");
    files(boot, "framework").try_for_each(|file| start_service(file).map_err(|status| (file, status)))
}

/// Runs the system from its first thread to its end.
pub(crate) fn main(boot: &Boot) {
    crate::dispatcher::thread::set_exit_notify(process::thread_ending);
    let _ = process::system();
    engine::initialize();
    if let Some(seconds) = word(boot.command_line, "patience").and_then(|value| value.parse().ok()) {
        watch::set_limit(seconds);
    }
    if word(boot.command_line, "late-log") == Some("memory") {
        crate::log::keep_in_memory(boot.hal);
    }
    let archive = Archive::new(boot.archive);
    boot::stage("reading the archive");
    service::set_archive(boot.archive);
    install::set_verifier(word(boot.command_line, "verifier"));
    install::load_packages(&archive);
    boot::stage("starting the serial port");
    if let Err(status) = service::load(serial::SERVICE) {
        crate::log!("COM2 does not work: {status}");
    }
    if let Err((file, status)) = start_framework(boot) {
        // With another framework than the one that was asked for, nothing that follows would mean anything.
        crate::log!("the framework {file} does not run: {status}; no driver is started");
        shut_down();
    }
    boot::stage("starting devices");
    if let Err(status) = start_devices() {
        crate::log!("the device tree does not stand: {status}");
    }
    for file in files(boot, "services") {
        boot::stage("starting services");
        if let Err(status) = start_service(file) {
            crate::log!("{file} does not run: {status}");
        }
    }
    match word(boot.command_line, "suite") {
        Some(name) => run_program(&archive, name),
        None => crate::log!("the command line names no suite=…; there is nothing to run"),
    }
    boot::stage("shutting down");
    shut_down()
}

/// The registry's fixed keys, the root, and everything that is found below it.
pub(crate) fn start_devices() -> Result<(), NTSTATUS> {
    registry::create_fixed_keys()?;
    let root = root::create()?;
    engine::set_root(Some(root.clone()));
    let guard = engine::lock();
    let host = root::add(&root, "ACPI\\PNP0A08", &["ACPI\\PNP0A08", "*PNP0A08", "ACPI\\PNP0A03", "*PNP0A03"])?;
    registry::set_string(&host.key(), "Service", crate::pnp::pci::SERVICE)?;
    start::configure(&guard, &host);
    for id in install::root_devices() {
        let device = root::add(&root, &id, &[&id])?;
        start::configure(&guard, &device);
    }
    enumerate::bus(&guard, &root);
    Ok(())
}

/// Starts a driver without a device, whose service has the name of the file.
fn start_service(file: &str) -> Result<(), NTSTATUS> {
    let service = file.rsplit_once('.').map_or(file, |(name, _)| name);
    install::add_legacy_service(service, file)?;
    service::load(service).map(drop)
}

/// Starts the program and waits for its end.
fn run_program(archive: &Archive<'_>, name: &str) {
    boot::stage("starting the program");
    let Some(file) = archive.find(name) else {
        return crate::log!("{name} is not in the archive");
    };
    let process: ObjectRef = match process::start(name, file) {
        Ok(process) => process,
        Err(error) => return crate::log!("{name}: {error}"),
    };
    boot::complete();
    // SAFETY: the reference keeps the process alive; this is a system thread at PASSIVE_LEVEL.
    let _ = unsafe { KeWaitForSingleObject(process.body(), EXECUTIVE, KERNEL_MODE, 0, core::ptr::null_mut()) };
    let status = process.get::<Process>(&PROCESS).map_or(NTSTATUS::SUCCESS, Process::exit_status);
    crate::log!("{name} ended with {status}");
}

/// Orderly: drivers are told, devices removed, drivers unloaded, leaks reported.
fn shut_down() -> ! {
    shutdown::notify();
    if let Some(root) = engine::root() {
        let guard = engine::lock();
        remove::all(&guard, &root);
        power::system::shut_down(&guard);
    }
    service::unload_all();
    let outstanding = contiguous::outstanding();
    if outstanding != 0 {
        crate::log!("{outstanding} blocks of contiguous or common-buffer memory were not freed");
    }
    crate::log!("the system goes off");
    hal().end(Ending::Shutdown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_found_by_their_key() {
        assert_eq!(word("verifier=off suite=suite.exe", "suite"), Some("suite.exe"));
        assert_eq!(word("suite", "suite"), None);
        assert_eq!(word("", "suite"), None);
    }
}
