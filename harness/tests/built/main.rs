//! What the build makes, looked at by readers that are not ours: the `object` crate, osslsigncode, and a minimal loader.

#[path = "../common/mod.rs"]
mod common;
mod loader;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use harness::build::names::SourceNames;
use harness::places::Places;
use object::LittleEndian as LE;
use object::pe::*;
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, Import, PeFile64};

/// Most that relay.sys may have.
const LARGEST_RELAY: usize = 64 << 10;

/// The folder of the package, and suite.exe: built once for all tests here.
fn built() -> &'static (tempfile::TempDir, PathBuf) {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        pack(folder.path());
        // Builds everything, and boots to ask for the names of the tests.
        let mut list = common::rig(&common::mark("built"));
        let output = list.env("RIG_QEMU", common::qemu_program()).args(["run", "--list"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let target = Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap();
        (folder, target.join("guest/x86_64-pc-windows-msvc/guest/suite.exe"))
    })
}

fn pack(folder: &Path) {
    let output = common::rig(&common::mark("built")).args(["package", "--out"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(built().0.path().join(name)).unwrap()
}

/// Library and function names of all imports.
fn imports(image: &PeFile64<'_>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let table = image.import_table().unwrap().expect("it imports something");
    let mut found = Vec::new();
    let mut descriptors = table.descriptors().unwrap();
    while let Some(descriptor) = descriptors.next().unwrap() {
        let library = text(table.name(descriptor.name.get(LE)).unwrap());
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE)).unwrap();
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>().unwrap() {
            let Import::Name(_, name) = table.import::<ImageNtHeaders64>(thunk).unwrap() else { panic!("an import by number") };
            found.push((library.clone(), text(name)));
        }
    }
    found
}

#[test]
fn both_drivers_are_images_that_the_kernel_loads_and_nothing_more() {
    for name in ["relay.sys", "relayflt.sys"] {
        let bytes = file(name);
        let image = PeFile64::parse(&*bytes).unwrap();
        let headers = image.nt_headers();
        let optional = headers.optional_header();
        assert_eq!(headers.file_header().machine.get(LE), IMAGE_FILE_MACHINE_AMD64, "{name}");
        assert_eq!(optional.subsystem(), IMAGE_SUBSYSTEM_NATIVE, "{name}");
        let wanted =
            IMAGE_DLLCHARACTERISTICS_NX_COMPAT | IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA;
        assert_eq!(optional.dll_characteristics() & wanted, wanted, "{name}");
        assert!(image.export_table().unwrap().is_none(), "{name} exports something");
        for section in image.section_table().iter() {
            let flags = section.characteristics.get(LE);
            let section = String::from_utf8_lossy(section.raw_name()).into_owned();
            let both = IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_WRITE;
            assert_ne!(flags & both, both, "{name} {section} can be written and executed");
            // What DISPATCH_LEVEL code touches must never be paged out.
            let resident = flags & (IMAGE_SCN_MEM_NOT_PAGED | IMAGE_SCN_MEM_DISCARDABLE) != 0;
            assert!(resident || section == ".rsrc", "{name} {section} is pageable");
        }
        for (library, function) in imports(&image) {
            let wdf = library == "WDFLDR.SYS" && function.starts_with("WdfVersion");
            assert!(wdf || library == "ntoskrnl.exe", "{name} imports {function} from {library}");
        }
    }
}

#[test]
fn relay_sys_is_small() {
    let length = file("relay.sys").len();
    assert!(length <= LARGEST_RELAY, "relay.sys has {length} bytes");
}

#[test]
fn suite_exe_imports_nothing_but_ntdll() {
    let bytes = std::fs::read(&built().1).unwrap();
    let image = PeFile64::parse(&*bytes).unwrap();
    let imports = imports(&image);
    assert!(!imports.is_empty() && imports.iter().all(|(library, _)| library == "ntdll.dll"), "{imports:?}");
}

#[test]
fn suite_exe_starts_and_speaks_under_a_minimal_loader() {
    let said = loader::run(&std::fs::read(&built().1).unwrap());
    assert_eq!(said, ["hello from NT of unknown version", "goodbye"]);
}

#[test]
fn osslsigncode_accepts_the_signatures_of_the_built_package() {
    let Some(program) = test_tools::find("osslsigncode") else { return };
    let folder = built().0.path();
    let pem = folder.join("relay.pem");
    let certificate = file("relay.cer");
    std::fs::write(&pem, der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &certificate).unwrap()).unwrap();
    for arguments in [
        &["-in", "relay.sys"][..],
        &["-in", "relayflt.sys"],
        &["-in", "relay.cat"],
        &["-catalog", "relay.cat", "-in", "relay.sys"],
        &["-catalog", "relay.cat", "-in", "relayflt.sys"],
    ] {
        let mut command = Command::new(&program);
        let output = command.current_dir(folder).args(["verify", "-CAfile", "relay.pem"]).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && text.contains("Succeeded"), "{arguments:?}: {text}");
    }
}

#[test]
fn neither_drivers_nor_symbols_name_a_folder_of_this_machine() {
    let names = SourceNames::of(&Places::find(None));
    for name in ["relay.sys", "relayflt.sys", "relay.pdb", "relayflt.pdb"] {
        assert_eq!(names.find_folder(&file(name)), None, "{name}");
    }
    // They name their sources all the same.
    let source = b"/wdfrig/driver/relay/src/commands.rs";
    assert!(file("relay.pdb").windows(source.len()).any(|bytes| bytes == source));
}

#[test]
fn the_same_sources_make_the_same_package() {
    let again = tempfile::tempdir().unwrap();
    pack(again.path());
    for name in ["relay.inf", "relay.sys", "relayflt.sys", "relay.cat", "relay.cer", "relay.pdb", "relayflt.pdb"] {
        assert!(file(name) == std::fs::read(again.path().join(name)).unwrap(), "{name} differs");
    }
}
