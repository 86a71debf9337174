//! Drivers and a program that somebody else could have written: in C, against headers of their own, compiled by clang and linked by lld.
//! They load on ntlet and work; and what drivers do wrong ends in the bug check that the documentation names.
//!
//! Needs a QEMU, named by RIG_QEMU, the standard library's source, and clang and lld. Where one is missing the test says so and is
//! skipped. It is a program of its own, for the test harness has no word for "skipped".

mod machine;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use machine::{Boot, Build, fail, skip};

/// How a guest is to end.
enum End {
    /// In order, having said this.
    Orderly(&'static [&'static str]),
    /// In a bug check, which it says like this.
    BugCheck(&'static str),
}

/// A guest: what is defined when its driver and its program are compiled, its processors, and how it is to end.
struct Case {
    name: &'static str,
    driver: &'static [&'static str],
    program: &'static [&'static str],
    processors: u32,
    end: End,
}

const fn mistake(name: &'static str, how: &'static [&'static str], report: &'static str) -> Case {
    Case { name, driver: &[], program: how, processors: 2, end: End::BugCheck(report) }
}

const GOOD: End = End::Orderly(&[
    "foreign: formats -7|   42|ab  |0000BEEF|123456789abcdef|text|cu|!|0000000000001234|\\Device\\Foreign|wide|%",
    " 0 failed",
    "foreign: unloaded",
    "foreign: framework driver unloaded",
]);

const CASES: &[Case] = &[
    Case { name: "good-1", driver: &[], program: &["-DFRAMEWORK"], processors: 1, end: GOOD },
    Case { name: "good-4", driver: &[], program: &["-DFRAMEWORK"], processors: 4, end: GOOD },
    Case {
        name: "garbage",
        driver: &["-DGARBAGE"],
        program: &["-DHOW=0"],
        processors: 2,
        end: End::Orderly(&["the DriverEntry of foreign.sys failed with status 0xdeadbeef"]),
    },
    Case {
        name: "leak",
        driver: &["-DLEAK"],
        program: &[],
        processors: 2,
        end: End::Orderly(&["foreign.sys leaves 1 pool blocks with 77 bytes behind", "tag Frgn: 1 blocks, 77 bytes"]),
    },
    Case { name: "hostile", driver: &[], program: &["-DHOSTILE"], processors: 2, end: End::Orderly(&["foreign: ", " 0 failed"]) },
    mistake("overrun", &["-DHOW=1"], "*** bug check 0x19 (0x20, "),
    mistake("free-twice", &["-DHOW=2"], "*** bug check 0xc2 (0x7, "),
    mistake("spin", &["-DHOW=3"], "*** bug check 0x133 (0x1, "),
    mistake("complete-twice", &["-DHOW=4"], "*** bug check 0x44 ("),
    mistake("touch-at-dispatch", &["-DHOW=5"], "*** bug check 0xd1 (0xfffff6ffdead0000, 0x2, 0x0, "),
    mistake("recurse", &["-DHOW=6"], "*** bug check 0x7f (0x8, "),
    mistake("wrong-irql", &["-DHOW=7"], "*** bug check 0xc8 (0x200, "),
    mistake("smash-stack", &["-DHOW=8"], "*** bug check 0xf7 ("),
    mistake("write-code", &["-DHOW=9"], "*** bug check 0xbe ("),
    mistake("run-data", &["-DHOW=10"], "*** bug check 0xfc ("),
    mistake("raise", &["-DHOW=11"], "*** bug check 0x3b (0xe0005678, "),
];

/// The libraries that drivers and programs import from, and what of them.
const KERNEL: &str = "DbgPrint _snprintf RtlInitUnicodeString IoCreateDevice IoDeleteDevice IoCreateSymbolicLink IoDeleteSymbolicLink \
    IofCompleteRequest ExAllocatePool2 ExFreePoolWithTag KeInitializeEvent KeSetEvent KeWaitForSingleObject KeWaitForMultipleObjects \
    KeInitializeTimer KeSetTimer KeCancelTimer KeInitializeDpc KeInsertQueueDpc KeInitializeSpinLock KeAcquireSpinLockRaiseToDpc \
    KeReleaseSpinLock IoAllocateWorkItem IoQueueWorkItem IoFreeWorkItem ProbeForRead ProbeForWrite MmMapLockedPagesSpecifyCache \
    ExRaiseStatus IoCsqInitialize IoCsqInsertIrp IoCsqRemoveNextIrp PsCreateSystemThread PsTerminateSystemThread \
    ObReferenceObjectByHandle ObfDereferenceObject ZwClose ZwOpenKey MmGetSystemRoutineAddress KeBugCheckEx __C_specific_handler memset \
    memcpy __chkstk PsThreadType";
const FRAMEWORK: &str = "WdfVersionBind WdfVersionUnbind";
const PROGRAM: &str = "NtTerminateProcess NtCreateFile NtDeviceIoControlFile NtCancelIoFileEx NtWaitForSingleObject NtClose \
    NtDisplayString NtOpenFile NtReadFile NtWriteFile NtCancelIoFile NtCancelSynchronousIoFile \
    NtQueryInformationFile NtSetInformationFile NtCreateIoCompletion NtSetIoCompletion NtRemoveIoCompletion \
    NtCreateEvent NtSetEvent NtResetEvent NtClearEvent NtWaitForMultipleObjects NtCreateTimer NtSetTimer \
    NtCancelTimer NtYieldExecution NtQuerySystemTime NtQueryPerformanceCounter NtTestAlert NtQueueApcThread \
    NtCreateThreadEx NtQueryInformationProcess NtQuerySystemInformation NtAllocateVirtualMemory \
    NtFreeVirtualMemory NtProtectVirtualMemory";

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let build = match Build::ready() {
        Ok(build) => build,
        Err(reason) => return skip(&reason),
    };
    let (Some(clang), Some(lld)) = (test_tools::find("clang"), test_tools::find("lld-link")) else {
        return skip("clang or lld is not there");
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign");
    let tools = Tools { clang, lld, source: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign"), folder };
    let run = || {
        let image = build.image(&[])?;
        std::fs::create_dir_all(&tools.folder).map_err(|error| error.to_string())?;
        for (library, names) in [("ntoskrnl.exe", KERNEL), ("WDFLDR.SYS", FRAMEWORK), ("ntdll.dll", PROGRAM)] {
            tools.import_library(library, names)?;
        }
        let wanted = env::args().nth(1).filter(|argument| !argument.starts_with('-'));
        for case in CASES.iter().filter(|case| wanted.as_ref().is_none_or(|name| case.name == name)) {
            println!("foreign: {}", case.name);
            tools.case(case, &build, &image).map_err(|reason| format!("{}: {reason}", case.name))?;
        }
        Ok::<(), String>(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    }
}

struct Tools {
    clang: PathBuf,
    lld: PathBuf,
    source: PathBuf,
    folder: PathBuf,
}

impl Tools {
    fn import_library(&self, module: &str, names: &str) -> Result<(), String> {
        let exports: Vec<&str> = names.split_whitespace().collect();
        let exports: Vec<String> =
            exports.iter().map(|name| format!("{name}{}", if *name == "PsThreadType" { " DATA" } else { "" })).collect();
        let definition = self.folder.join(format!("{module}.def"));
        std::fs::write(&definition, format!("LIBRARY {module}\nEXPORTS\n{}\n", exports.join("\n")))
            .map_err(|error| error.to_string())?;
        let library = self.folder.join(format!("{module}.lib"));
        self.run(
            Command::new(&self.lld)
                .arg("/lib")
                .arg("/machine:x64")
                .arg(option("/def:", &definition))
                .arg(option("/out:", &library)),
        )
    }

    /// Compiles sources and links them; the file's contents.
    fn link(
        &self,
        name: &str,
        sources: &[&str],
        defines: &[&str],
        options: &[&str],
        libraries: &[&str],
    ) -> Result<Vec<u8>, String> {
        let mut objects = Vec::new();
        for source in sources {
            let object = self.folder.join(format!("{name}-{source}.obj"));
            self.run(
                Command::new(&self.clang)
                    .args("--target=x86_64-pc-windows-msvc -c -O1 -g -gcodeview -ffreestanding -fms-extensions -fexceptions -fasync-exceptions -mno-stack-arg-probe".split(' '))
                    .args("-Wall -Werror -Wno-unused-parameter -Wno-missing-field-initializers -Wno-multichar -fstack-protector-strong".split(' '))
                    .args(["-Wno-four-char-constants", "-Wno-null-dereference", "-Wno-infinite-recursion", "-Wno-builtin-requires-header"])
                    .args(defines)
                    .arg(self.source.join(source))
                    .arg("-o")
                    .arg(&object),
            )?;
            objects.push(object);
        }
        let out = self.folder.join(name);
        let libraries = libraries.iter().map(|library| self.folder.join(format!("{library}.lib")));
        self.run(
            Command::new(&self.lld)
                .args(["/nologo", "/machine:x64", "/nodefaultlib", "/debug", "/dynamicbase"])
                .args(options)
                .args(&objects)
                .args(libraries)
                .arg(option("/out:", &out)),
        )?;
        std::fs::read(&out).map_err(|error| error.to_string())
    }

    fn run(&self, command: &mut Command) -> Result<(), String> {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let said =
            || format!("{command:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(said()) }
    }

    fn case(&self, case: &Case, build: &Build, image: &Path) -> Result<(), String> {
        let driver = ["/subsystem:native", "/driver", "/entry:DriverEntry"];
        let program = ["/subsystem:native", "/entry:start"];
        let files = [
            ("foreign.sys", self.link("foreign.sys", &["wdm.c", "support.c"], case.driver, &driver, &["ntoskrnl.exe"])?),
            (
                "foreignkmdf.sys",
                self.link("foreignkmdf.sys", &["kmdf.c", "support.c"], &[], &driver, &["ntoskrnl.exe", "WDFLDR.SYS"])?,
            ),
            (
                "foreign.exe",
                self.link(
                    "foreign.exe",
                    &["program.c"],
                    &[case.program, &["-fno-stack-protector"]].concat(),
                    &program,
                    &["ntdll.dll"],
                )?,
            ),
            ("foreign.inf", std::fs::read(self.source.join("foreign.inf")).map_err(|error| error.to_string())?),
        ];
        let archive = self.folder.join("archive");
        std::fs::write(&archive, machine::archive(&files)).map_err(|error| error.to_string())?;
        let boot = Boot {
            image,
            archive: &archive,
            arguments: &format!("-smp {} -cpu max", case.processors),
            command_line: "services=foreign.sys suite=foreign.exe",
        };
        let (status, log) = boot.run(build)?;
        let (wanted, texts): (i32, Vec<&str>) = match case.end {
            End::Orderly(texts) => (machine::ORDERLY, texts.to_vec()),
            End::BugCheck(text) => (machine::BUG_CHECK, vec![text]),
        };
        let missing = texts.iter().find(|text| !log.contains(**text));
        match missing {
            Some(text) => Err(format!("the guest does not say {text:?}; its log:\n{log}")),
            None if log.contains("foreign: FAILED") => Err(format!("a check failed; the guest's log:\n{log}")),
            None if status != wanted => Err(format!("QEMU ended with {status} instead of {wanted}; the guest's log:\n{log}")),
            None => Ok(()),
        }
    }
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}
