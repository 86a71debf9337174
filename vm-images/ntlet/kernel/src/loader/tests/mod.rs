//! Loading, against files that are put together here: sound ones, and ones that lie.

mod builder;
mod hostile;

use wdf_sys::NTSTATUS;

use super::image::{Image, ImageError};
use super::layout::{self, Export, Symbol};
use super::*;
use crate::sim::{self, Simulation};
use builder::{DATA, PeFile, TEXT};

/// `mov eax, imm32; ret`.
fn returns(value: u32) -> Vec<u8> {
    let mut code = std::vec![0xb8];
    code.extend(value.to_le_bytes());
    code.push(0xc3);
    code
}

/// Calls a loaded driver's entry point.
fn call(loaded: &Loaded) -> u32 {
    // SAFETY: the code of these tests takes no arguments.
    unsafe { core::mem::transmute::<usize, unsafe extern "win64" fn() -> u32>(loaded.entry)() }
}

#[test]
fn a_driver_is_loaded_relocated_bound_and_called() {
    sim::run(|_| {
        // jmp [rip + import]: tail-calls KeGetCurrentIrql through its bound address.
        let file = PeFile::new().import("NTOSKRNL.exe", &["DbgPrint", "KeGetCurrentIrql"]).code(|addresses| {
            let mut code = std::vec![0xff, 0x25];
            code.extend((addresses.import(1) - (TEXT + 6)).to_le_bytes());
            code
        });
        let loaded = load_driver("calls.sys", &file.build()).unwrap();
        assert_eq!(call(&loaded), 0);
        assert_eq!((loaded.module.name(), loaded.module.size()), ("calls.sys", 0x5000));
        // A pointer in .data to the start of .data.
        let data = loaded.module.base() + DATA as usize;
        let pointer = core::ptr::with_exposed_provenance::<usize>(data);
        // SAFETY: the loaded image's data.
        assert_eq!(unsafe { pointer.read() }, data);
        // SAFETY: nothing of it runs.
        unsafe { unload(loaded) };
    });
}

#[test]
fn a_missing_import_refuses_the_driver_and_names_module_and_symbol() {
    sim::run(|_| {
        let (before, _) = crate::hal().memory();
        let symbol = load_driver("x.sys", &PeFile::new().import("ntoskrnl.exe", &["ZwMakeCoffee"]).build()).unwrap_err();
        assert_eq!(symbol.to_string(), "it imports ZwMakeCoffee from ntoskrnl.exe, which does not export it");
        assert_eq!(symbol.status(), NTSTATUS::DRIVER_ENTRYPOINT_NOT_FOUND);
        let module = load_driver("x.sys", &PeFile::new().import("NDIS.SYS", &["NdisM"]).build()).unwrap_err();
        assert_eq!(module.to_string(), "it imports NdisM from NDIS.SYS, and there is no such module");
        let ordinal = load_driver("x.sys", &PeFile::new().import("hal.dll", &["#7"]).build()).unwrap_err();
        assert_eq!(ordinal.status(), NTSTATUS::DRIVER_ORDINAL_NOT_FOUND);
        assert_eq!(crate::hal().memory().0, before, "nothing is left");
    });
}

#[test]
fn drivers_import_from_drivers_by_name_by_ordinal_and_through_forwarders() {
    sim::run(|_| {
        let library = PeFile::new().exports(&[("Answer", TEXT), ("Current", 0)]).forward("Current", "ntoskrnl.KeGetCurrentIrql");
        let library = load_driver("library.sys", &library.code(|_| returns(42)).build()).unwrap();
        for (symbol, expected) in [("Answer", 42), ("#1", 42), ("Current", 0), ("#2", 0)] {
            let user = PeFile::new().import("LIBRARY.SYS", &[symbol]).code(|addresses| {
                let mut code = std::vec![0xff, 0x25];
                code.extend((addresses.import(0) - (TEXT + 6)).to_le_bytes());
                code
            });
            let user = load_driver("user.sys", &user.build()).unwrap();
            assert_eq!(call(&user), expected, "{symbol}");
            // SAFETY: nothing of it runs.
            unsafe { unload(user) };
        }
        let missing = load_driver("user.sys", &PeFile::new().import("library.sys", &["Question"]).build()).unwrap_err();
        assert!(matches!(missing, LoadError::MissingSymbol { .. }));
        // SAFETY: nothing of it runs.
        unsafe { unload(library) };
    });
}

#[test]
fn forwarders_lead_to_names_and_numbers_of_other_drivers_but_not_in_circles() {
    sim::run(|_| {
        let first = PeFile::new().exports(&[("Answer", TEXT)]).code(|_| returns(42));
        let first = load_driver("first.sys", &first.build()).unwrap();
        let second = PeFile::new().exports(&[("ByName", 0), ("ByNumber", 0), ("Circle", 0), ("Nowhere", 0), ("Nonsense", 0)]);
        let second = second.forward("ByName", "FIRST.Answer").forward("ByNumber", "first.#1").forward("Circle", "SECOND.#3");
        let second =
            load_driver("second.sys", &second.forward("Nowhere", "third.X").forward("Nonsense", "dotless").build()).unwrap();
        let user = |symbol| {
            let user = PeFile::new().import("second.sys", &[symbol]).code(|addresses| {
                let mut code = std::vec![0xff, 0x25];
                code.extend((addresses.import(0) - (TEXT + 6)).to_le_bytes());
                code
            });
            load_driver("user.sys", &user.build())
        };
        for symbol in ["ByName", "ByNumber", "#2"] {
            let user = user(symbol).unwrap();
            assert_eq!(call(&user), 42, "{symbol}");
            // SAFETY: nothing of it runs.
            unsafe { unload(user) };
        }
        for symbol in ["Circle", "Nonsense"] {
            let expected = LoadError::MissingSymbol { module: "second.sys".into(), symbol: symbol.into() };
            assert_eq!(user(symbol).unwrap_err(), expected);
        }
        let nowhere = LoadError::MissingModule { module: "third.sys".into(), symbol: "X".into() };
        assert_eq!(user("Nowhere").unwrap_err(), nowhere);
        // SAFETY: nothing of them runs.
        unsafe {
            unload(second);
            unload(first);
        }
    });
}

#[test]
fn code_cannot_be_written_and_data_cannot_be_executed() {
    for (execute, expected) in [(true, 0), (false, 1)] {
        let outcome = Simulation::new().run(|_| {
            let loaded = load_driver("x.sys", &PeFile::new().code(|_| returns(1)).build()).unwrap();
            let base = loaded.module.base();
            // SAFETY: what a driver must not do.
            unsafe {
                if execute {
                    core::mem::transmute::<usize, unsafe extern "win64" fn()>(base + DATA as usize)();
                } else {
                    core::ptr::with_exposed_provenance_mut::<u8>(base + TEXT as usize).write(0);
                }
            }
        });
        let parameters = outcome.expect_bug_check(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED);
        assert_eq!(parameters[0], 0xc000_0005, "{expected}");
    }
}

#[test]
fn what_is_only_for_the_entry_point_is_gone_afterwards() {
    let outcome = Simulation::new().run(|_| {
        let mut loaded = load_driver("x.sys", &PeFile::new().discardable().code(|_| returns(5)).build()).unwrap();
        assert_eq!(call(&loaded), 5);
        loaded.discard_init();
        call(&loaded);
    });
    outcome.expect_bug_check(bug_check::SYSTEM_THREAD_EXCEPTION_NOT_HANDLED);
}

#[test]
fn the_security_cookie_is_made_random_with_zero_upper_bits() {
    sim::run(|_| {
        let loaded = load_driver("x.sys", &PeFile::new().cookie().build()).unwrap();
        let cookie = core::ptr::with_exposed_provenance::<u64>(loaded.module.base() + DATA as usize + 8);
        // SAFETY: the loaded image's data.
        let cookie = unsafe { cookie.read() };
        assert!(cookie != 0x2b99_2ddf_a232 && cookie != 0 && cookie >> 48 == 0, "{cookie:#x}");
    });
}

fn error_of(change: impl FnOnce(&mut Vec<u8>)) -> ImageError {
    let mut file = PeFile::new().build();
    change(&mut file);
    Image::parse(&file).expect_err("the file lies")
}

#[test]
fn headers_that_lie_are_refused_by_name() {
    use builder::header;
    let put32 = |file: &mut Vec<u8>, at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    assert_eq!(error_of(|file| file[0] = b'X'), ImageError::NotPe);
    assert_eq!(error_of(|file| put32(file, 0x3c, u32::MAX)), ImageError::NotPe);
    assert_eq!(error_of(|file| file[header::MACHINE] = 0x4c), ImageError::Machine(0x864c));
    assert_eq!(error_of(|file| file[header::OPTIONAL + 1] = 1), ImageError::Magic(0x10b));
    assert!(matches!(error_of(|file| put32(file, header::OPTIONAL + 32, 512)), ImageError::Header(_)), "alignment");
    assert!(matches!(error_of(|file| put32(file, header::OPTIONAL + 16, DATA)), ImageError::Header(_)), "entry in data");
    assert!(matches!(error_of(|file| put32(file, header::OPTIONAL + 56, u32::MAX)), ImageError::Header(_)), "size");
    assert!(matches!(error_of(|file| put32(file, header::OPTIONAL + 60, 1 << 20)), ImageError::Truncated(_)), "header size");
    assert!(matches!(error_of(|file| put32(file, header::DIRECTORIES + 8, 0xffff_f000)), ImageError::Header(_)), "directory");
    assert!(matches!(error_of(|file| put32(file, header::SECTIONS + 12, 0x2000)), ImageError::Section(0, _)), "section address");
    assert!(matches!(error_of(|file| put32(file, header::SECTIONS + 8, u32::MAX)), ImageError::Section(0, _)), "section size");
    assert!(
        matches!(error_of(|file| put32(file, header::SECTIONS + 20, 0xffff_ff00)), ImageError::Section(0, _)),
        "section place"
    );
    assert!(matches!(error_of(|file| put32(file, header::OPTIONAL + 64, 12345)), ImageError::Checksum { .. }));
}

#[test]
fn a_right_checksum_is_accepted() {
    let mut file = PeFile::new().build();
    let wrong = 1u32.to_le_bytes();
    file[builder::header::OPTIONAL + 64..builder::header::OPTIONAL + 68].copy_from_slice(&wrong);
    let Err(ImageError::Checksum { file: right, .. }) = Image::parse(&file) else { panic!("a wrong checksum is accepted") };
    file[builder::header::OPTIONAL + 64..builder::header::OPTIONAL + 68].copy_from_slice(&right.to_le_bytes());
    assert!(Image::parse(&file).is_ok());
}

#[test]
fn exports_are_found_by_name_and_number() {
    let file = PeFile::new().exports(&[("Answer", TEXT), ("Other", TEXT + 4)]).build();
    let image = Image::parse(&file).unwrap();
    let mut memory = std::vec![0; image.size as usize];
    layout::lay_out(&image, &mut memory).unwrap();
    let table = image.directory(0).unwrap();
    assert_eq!(layout::find_export(&memory, table, Symbol::Name("Other")), Some(Export::At(TEXT + 4)));
    assert_eq!(layout::find_export(&memory, table, Symbol::Ordinal(1)), Some(Export::At(TEXT)));
    assert_eq!(layout::find_export(&memory, table, Symbol::Ordinal(3)), None);
    assert_eq!(layout::find_export(&memory, table, Symbol::Name("other")), None);
}

#[test]
fn a_driver_that_unloads_with_its_timer_running_is_named() {
    let outcome = Simulation::new().run(|_| {
        let loaded = load_driver("hasty.sys", &PeFile::new().code(|_| returns(1)).build()).unwrap();
        let timer = Box::leak(Box::new(wdf_sys::wdm::KTIMER::zeroed()));
        let dpc = Box::leak(Box::new(wdf_sys::wdm::KDPC::zeroed()));
        // SAFETY: places for a timer and a DPC that stay; the routine is the driver's.
        unsafe {
            let routine = core::mem::transmute::<usize, wdf_sys::wdm::PKDEFERRED_ROUTINE>(loaded.entry);
            dpc::KeInitializeDpc(dpc, routine, core::ptr::null_mut());
            timer::KeInitializeTimer(timer);
            timer::KeSetTimer(timer, -1_000_000, dpc);
            unload(loaded);
        }
    });
    outcome.expect_bug_check(bug_check::DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS);
    assert!(outcome.has_logged("hasty.sys unloads and leaves a timer that runs: hasty.sys+0x1000"), "{}", outcome.log);
}
