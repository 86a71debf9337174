//! The framework over the real kernel, on a simulated machine: a driver binds, gets a device, and everything documented is done to it
//! in turn. `rig` loads and starts the driver; `bus` is the device below and the PnP manager; `request` sends from above.
#![allow(clippy::macro_metavars_in_unsafe, reason = "`ddi!` is the one place where these tests make their promise as a driver")]

/// A call of the framework or the kernel, as a driver makes it.
macro_rules! ddi {
    ($($call:tt)*) => {
        // SAFETY: the handles are those that the framework gave out, or wrong ones that it must recognise; structures and buffers are
        // of the types that the functions' pages name, and live through the call, or as long as the object that they are given to.
        unsafe { $($call)* }
    };
}

mod binding;
mod bus;
mod cancelling;
mod dma;
mod files;
mod life;
mod misuse;
mod power;
mod queues;
mod relations;
mod request;
mod reserve;
mod rig;
mod scarcity;
mod sending;
mod synchronization;
mod wmi;

/// Every declaration of a function that is not the framework's own is in `wdf_sys`, whose functions the kernel exports to any driver. What
/// is in assembly, and calls one of those, is in one file.
#[test]
fn the_framework_declares_no_function_of_the_kernels_for_itself() {
    fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 50, "{found:?}");
    for file in found.iter().filter(|file| !file.ends_with("guarded.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        let declares = text.lines().any(|line| line.contains("extern \"") && line.ends_with("\" {"));
        assert!(!declares && !text.contains("asm!("), "{} has an extern block", file.display());
    }
}
