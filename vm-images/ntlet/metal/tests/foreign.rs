//! Drivers and a program that somebody else could have written: in C, against headers of their own, compiled by clang and linked by lld.
//! They load on ntlet and work; and what drivers do wrong ends in the bug check that the documentation names, within a deadline.
//!
//! Needs a QEMU, named by RIG_QEMU, the standard library's source, and clang and lld. Where one is missing the test says so and is
//! skipped. It is a program of its own, for the test harness has no word for "skipped". Names as its argument, with commas: those guests alone.

#[path = "foreign/compile.rs"]
mod compile;
mod machine;
#[path = "foreign/slot.rs"]
mod slot;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use compile::{CHECKED_DRIVER, Compiler, DRIVER, PROGRAM, Product};
use machine::{Boot, Build, fail, skip};

/// How a guest is to end.
#[derive(Clone, Copy)]
enum End {
    /// In order, having said this.
    Orderly(&'static [&'static str]),
    /// In a bug check, having said this.
    BugCheck(&'static [&'static str]),
}

/// A guest: how its files are compiled, and how it is to end.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// What is defined in the WDM driver, in the framework driver, and in the program.
    wdm: &'static [&'static str],
    kmdf: &'static [&'static str],
    program: &'static [&'static str],
    /// The WDM driver of a PnP device, if the guest has one, and what is defined in it.
    pnp: Option<&'static [&'static str]>,
    /// Half of the WDM driver's file is missing, and the framework driver's INF makes no sense.
    is_damaged: bool,
    /// The PnP driver is that of a card in a slot, which is ejected and put back.
    is_in_slot: bool,
    /// The PnP driver is that of a card which stays.
    has_card: bool,
    /// Whether the guest has the drivers that try what sample drivers use.
    has_wdk: bool,
    /// The guest's clock counts its instructions, a nanosecond each, and the boot may take so many of them.
    most_instructions: Option<u64>,
    processors: u32,
    /// More words of the kernel's command line.
    words: &'static str,
    end: End,
}

const fn case(name: &'static str, end: End) -> Case {
    Case {
        name,
        wdm: &[],
        kmdf: &[],
        program: &[],
        pnp: None,
        is_damaged: false,
        is_in_slot: false,
        has_card: false,
        has_wdk: false,
        most_instructions: None,
        processors: 2,
        words: "",
        end,
    }
}

/// A mistake of the WDM driver, which the program asks it for.
const fn mistake(name: &'static str, how: &'static [&'static str], report: &'static [&'static str]) -> Case {
    Case { program: how, ..case(name, End::BugCheck(report)) }
}

/// What the driver of a PnP device does wrong while it is added or removed. Drivers get five seconds here.
const fn device(name: &'static str, how: &'static [&'static str], end: End) -> Case {
    Case { pnp: Some(how), words: "patience=5", ..case(name, end) }
}

/// What the service routine of a card's driver does wrong.
const fn interrupted(name: &'static str, how: &'static [&'static str], end: End) -> Case {
    Case { has_card: true, ..device(name, how, end) }
}

/// What the framework driver does wrong.
const fn framework(name: &'static str, how: &'static [&'static str], program: &'static [&'static str], end: End) -> Case {
    Case { kmdf: how, program, words: "patience=5", ..case(name, end) }
}

/// The program asks the framework driver, too.
const USED: &[&str] = &["-DFRAMEWORK"];

/// The program has the system sleep, through every driver's IRP_MN_QUERY_POWER.
const TO_SLEEP: &[&str] = &["-DTO_SLEEP"];

const GOOD: Case = Case {
    program: &["-DFRAMEWORK", "-DSERVICES"],
    pnp: Some(&[]),
    has_wdk: true,
    ..case(
        "",
        End::Orderly(&[
            "foreign: formats -7|   42|ab  |0000BEEF|123456789abcdef|text|cu|!|0000000000001234|\\Device\\Foreign|wide|%",
            " 0 failed",
            "foreign: unloaded",
            "foreign: framework driver unloaded",
            "foreign: PnP driver started",
            "foreign: what samples use: 42 checks, 0 wrong",
            "foreign: more that drivers use: 41 checks, 0 wrong",
            "foreign: services of the kernel: 32 checks, 0 wrong",
            "foreign: another process's memory holds beef, and back again: 1",
            "foreign: told of the program and of a driver: 3f, 0",
            "foreign: PnP driver removed",
        ]),
    )
};

/// What the driver of a PnP device says when it has been started.
const STARTED: &str = "foreign: PnP driver started";
/// Most instructions from the machine's first one to that, waits for hardware included: twice what they are. An emulator does some hundred
/// million a second, so that most of the 0.7 s that a boot may take are left for QEMU's own start.
const BOOT: u64 = 60_000_000;

const CASES: &[Case] = &[
    Case { name: "good-1", processors: 1, ..GOOD },
    Case { name: "good-4", processors: 4, ..GOOD },
    Case { most_instructions: Some(BOOT), pnp: Some(&[]), ..case("boot", End::Orderly(&[STARTED, "kmdf foreignkmdf: #0 @"])) },
    Case {
        wdm: &["-DGARBAGE"],
        program: &["-DHOW=0"],
        ..case("garbage", End::Orderly(&["the DriverEntry of foreign.sys failed with status 0xdeadbeef"]))
    },
    Case {
        program: &["-DHOW=0"],
        is_damaged: true,
        ..case(
            "damaged",
            End::Orderly(&[
                "service foreign: section ",
                "reaches beyond the end of the file",
                "foreign.inf: line 1: a section name has no closing bracket",
            ]),
        )
    },
    Case {
        wdm: &["-DLEAK"],
        ..case("leak", End::Orderly(&["foreign.sys leaves 1 pool blocks with 77 bytes behind", "tag Frgn: 1 blocks, 77 bytes"]))
    },
    Case {
        wdm: &["-DORDINAL"],
        program: &["-DHOW=0"],
        ..case("ordinal", End::Orderly(&["service foreign: it imports #7 from ntoskrnl.exe, which does not export it"]))
    },
    Case {
        pnp: Some(&[]),
        program: &["-DSLEEP=10"],
        is_in_slot: true,
        ..case("slot", End::Orderly(&["foreign: PnP driver removed"]))
    },
    Case { program: &["-DHOSTILE"], ..case("hostile", End::Orderly(&["foreign: ", " 0 failed"])) },
    mistake("overrun", &["-DHOW=1"], &["*** bug check 0x19 (0x20, "]),
    mistake("free-twice", &["-DHOW=2"], &["*** bug check 0xc2 (0x7, "]),
    mistake("spin", &["-DHOW=3"], &["*** bug check 0x133 (0x1, "]),
    mistake("complete-twice", &["-DHOW=4"], &["*** bug check 0x44 ("]),
    mistake("touch-at-dispatch", &["-DHOW=5"], &["*** bug check 0xd1 (0xfffff6ffdead0000, 0x2, 0x0, "]),
    mistake("recurse", &["-DHOW=6"], &["*** bug check 0x7f (0x8, "]),
    mistake("wrong-irql", &["-DHOW=7"], &["*** bug check 0xc8 (0x200, "]),
    mistake("smash-stack", &["-DHOW=8"], &["*** bug check 0xf7 ("]),
    mistake("write-code", &["-DHOW=9"], &["*** bug check 0xbe ("]),
    mistake("run-data", &["-DHOW=10"], &["*** bug check 0xfc ("]),
    mistake("raise", &["-DHOW=11"], &["*** bug check 0x3b (0xe0005678, "]),
    mistake("free-part", &["-DHOW=12"], &["*** bug check 0xc2 (0x46, "]),
    mistake("free-by-other-tag", &["-DHOW=13"], &["*** bug check 0xc2 (0xa, "]),
    mistake("underrun", &["-DHOW=14"], &["*** bug check 0xc2 (0x46, "]),
    mistake("return-raised", &["-DHOW=15"], &["was called at IRQL 0 and returned at 2", "*** bug check 0xc9 (0x5, "]),
    mistake("keep-a-lock", &["-DHOW=16"], &["was called at IRQL 0 and returned at 2", "*** bug check 0xc9 (0x5, "]),
    mistake("release-unheld", &["-DHOW=17"], &["*** bug check 0x10 ("]),
    mistake("take-twice", &["-DHOW=18"], &["*** bug check 0xf ("]),
    mistake("null-at-dispatch", &["-DHOW=19"], &["*** bug check 0xd1 (0x0, 0x2, 0x0, "]),
    mistake("call-null", &["-DHOW=20"], &["*** bug check 0x3b (0xc0000005, 0x0, "]),
    mistake("wait-at-dispatch", &["-DHOW=21"], &["*** bug check 0xa ("]),
    mistake("work-raised", &["-DHOW=22"], &["*** bug check 0xe1 ("]),
    mistake("complete-pending", &["-DHOW=23"], &["*** bug check 0xc9 ("]),
    mistake("dereference", &["-DHOW=24"], &["*** bug check 0x18 ("]),
    mistake("critical-region", &["-DHOW=25"], &["*** bug check 0x1 ("]),
    mistake("spin-in-dpc", &["-DHOW=26"], &["*** bug check 0x133 (0x0, "]),
    mistake("wild-jump", &["-DHOW=27"], &["*** bug check 0x3b (0xc0000005, "]),
    mistake("deadlock", &["-DHOW=28"], &["*** bug check 0x133 (0x1, "]),
    mistake("free-stack", &["-DHOW=29"], &["*** bug check 0xc2 (0x46, "]),
    mistake("fast-fail", &["-DHOW=30"], &["*** bug check 0x139 (0x3, "]),
    mistake("divide-at-dispatch", &["-DHOW=31"], &["*** bug check 0x1e (0xc0000094, "]),
    mistake("release-mutex", &["-DHOW=32"], &["*** bug check 0x3b (0xc0000046, "]),
    mistake("release-semaphore", &["-DHOW=33"], &["*** bug check 0x3b (0xc0000047, "]),
    mistake("allocate-high", &["-DHOW=34"], &["*** bug check 0xc2 (0x8, 0x3, "]),
    mistake("allocate-paged", &["-DHOW=35"], &["*** bug check 0xc2 (0x8, 0x2, "]),
    mistake("free-in-use", &["-DHOW=36"], &["*** bug check 0x44 ("]),
    // The driver goes and leaves its interrupt connected, too.
    interrupted("interrupt-storm", &["-DINTERRUPT=1"], End::BugCheck(&["interrupt storm: line ", "*** bug check 0xce ("])),
    interrupted("interrupt-bug-check", &["-DINTERRUPT=2"], End::BugCheck(&["*** bug check 0xe2 (0x1, 0x2, 0x3, 0x4)"])),
    interrupted("interrupt-touch", &["-DINTERRUPT=3"], End::BugCheck(&["*** bug check 0xd1 (0xfffff6ffdead0000, "])),
    Case { words: "", ..interrupted("interrupt-block", &["-DINTERRUPT=4"], End::BugCheck(&["*** bug check 0x133 (0x1, "])) },
    Case {
        wdm: &["-DTIMER_LEFT"],
        ..case("timer-left", End::BugCheck(&["foreign.sys unloads and leaves a timer that runs", "*** bug check 0xce ("]))
    },
    Case {
        wdm: &["-DBLOCK_UNLOAD"],
        words: "patience=5",
        ..case(
            "block-unload",
            End::BugCheck(&[
                "giving up on foreign: it has not returned from its DriverUnload",
                "*** bug check 0x1d5 (0x63616c6c, ",
            ]),
        )
    },
    device(
        "add-garbage",
        &["-DADD_GARBAGE"],
        End::Orderly(&["AddDevice of foreignpnp failed with status 0xdeadbeef", " 0 failed"]),
    ),
    device(
        "add-raised",
        &["-DADD_RAISED"],
        End::BugCheck(&["foreignpnp returned from its AddDevice at IRQL 2", "*** bug check 0xc8 (0x20000, "]),
    ),
    device(
        "add-block",
        &["-DADD_BLOCK"],
        End::BugCheck(&["giving up on foreignpnp: it has not returned from its AddDevice", "*** bug check 0x1d5 ("]),
    ),
    device(
        "remove-block",
        &["-DREMOVE_BLOCK"],
        End::BugCheck(&["has not completed IRP_MN_REMOVE_DEVICE", "*** bug check 0x1d5 (0x3, "]),
    ),
    device(
        "remove-keep",
        &["-DREMOVE_KEEP"],
        End::BugCheck(&["has not completed IRP_MN_REMOVE_DEVICE", "*** bug check 0x1d5 (0x3, "]),
    ),
    Case {
        program: TO_SLEEP,
        ..device(
            "power-keep",
            &["-DPOWER_KEEP"],
            End::BugCheck(&["has not completed IRP_MN_QUERY_POWER", "*** bug check 0x9f (0x3, "]),
        )
    },
    Case {
        program: TO_SLEEP,
        ..device(
            "power-block",
            &["-DPOWER_BLOCK"],
            End::BugCheck(&["has not completed IRP_MN_QUERY_POWER", "*** bug check 0x9f (0x3, "]),
        )
    },
    framework(
        "framework-add-garbage",
        &["-DADD_GARBAGE"],
        &[],
        End::Orderly(&["AddDevice of foreignkmdf failed with status 0xdeadbeef"]),
    ),
    framework(
        "framework-missing",
        &["-DMISSING"],
        &[],
        End::BugCheck(&["WdfChildListCreate (index 0) is not implemented", "*** bug check 0x10d (0x4d495353, 0x0, "]),
    ),
    framework(
        "framework-add-pending",
        &["-DADD_PENDING"],
        USED,
        End::Orderly(&["VIOLATION of CallbackStatus: EvtDriverDeviceAdd returned STATUS_PENDING"]),
    ),
    framework(
        "framework-block-release",
        &["-DRELEASE_BLOCK"],
        &[],
        End::BugCheck(&["has not completed IRP_MN_REMOVE_DEVICE", "*** bug check 0x1d5 (0x3, "]),
    ),
    framework("framework-raised-handler", &["-DHANDLER_RAISED"], USED, End::BugCheck(&["*** bug check 0x10d (0xe, 0x0, 0x2, "])),
    framework("framework-raised-cleanup", &["-DCLEANUP_RAISED"], USED, End::BugCheck(&["*** bug check 0x10d (0xe, 0x0, 0x2, "])),
    framework(
        "framework-delete-twice",
        &["-DDELETE_TWICE"],
        USED,
        End::BugCheck(&["is no WDFOBJECT", "*** bug check 0x10d (0x5, "]),
    ),
    framework(
        "framework-nonsense",
        &["-DHANDLE_OF_NONSENSE"],
        USED,
        End::BugCheck(&["is no WDFOBJECT", "*** bug check 0x10d (0x5, 0xdeadbeef, "]),
    ),
    framework("framework-raised-dpc", &["-DDPC_RAISED"], USED, End::BugCheck(&["*** bug check 0x10d (0xe, 0x2, 0x3, "])),
];

/// The libraries that drivers and programs import from, and what of them.
const KERNEL: &str = "DbgPrint DbgBreakPoint _snprintf RtlInitUnicodeString IoCreateDevice IoDeleteDevice IoCreateSymbolicLink IoDeleteSymbolicLink \
    IofCompleteRequest ExAllocatePool2 ExFreePoolWithTag KeInitializeEvent KeSetEvent KeWaitForSingleObject KeWaitForMultipleObjects \
    KeInitializeTimer KeSetTimer KeCancelTimer KeInitializeDpc KeInsertQueueDpc KeInitializeSpinLock KeAcquireSpinLockRaiseToDpc \
    KeReleaseSpinLock IoAllocateWorkItem IoQueueWorkItem IoFreeWorkItem ProbeForRead ProbeForWrite MmMapLockedPagesSpecifyCache \
    ExRaiseStatus IoCsqInitialize IoCsqInsertIrp IoCsqRemoveNextIrp PsCreateSystemThread PsTerminateSystemThread \
    ObReferenceObjectByHandle ObfDereferenceObject ZwClose ZwOpenKey MmGetSystemRoutineAddress KeBugCheckEx __C_specific_handler memset \
    memcpy __chkstk PsThreadType KeEnterCriticalRegion KeDelayExecutionThread IoAttachDeviceToDeviceStack IoDetachDevice IofCallDriver \
    PoStartNextPowerIrp PoCallDriver IoInitializeRemoveLockEx IoAcquireRemoveLockEx IoReleaseRemoveLockEx \
    IoReleaseRemoveLockAndWaitEx KeInitializeMutex KeReleaseMutex KeInitializeSemaphore KeReleaseSemaphore IoFreeIrp MmMapIoSpace \
    IoConnectInterruptEx NumberSeven@7";
const FRAMEWORK: &str = "WdfVersionBind WdfVersionUnbind";
const WDK: &str = "DbgPrint KeInitializeEvent KeSetEvent KeWaitForSingleObject KeEnterCriticalRegion KeLeaveCriticalRegion \
    PsCreateSystemThread PsTerminateSystemThread ObReferenceObjectByHandle ObfDereferenceObject ZwClose RtlInitUnicodeString \
    MmMapLockedPagesSpecifyCache MmUnmapLockedPages IoCreateDevice IoDeleteDevice KeBugCheckEx __C_specific_handler memset memcpy \
    ExInitializePushLock ExAcquirePushLockExclusiveEx ExAcquirePushLockSharedEx ExReleasePushLockExclusiveEx \
    ExReleasePushLockSharedEx KeInitializeQueue KeInsertQueue KeInsertHeadQueue KeRemoveQueue KeRundownQueue KeIpiGenericCall \
    KeQueryActiveProcessorCount ExCreateCallback ExRegisterCallback ExUnregisterCallback ExNotifyCallback MmAllocatePagesForMdlEx \
    MmFreePagesFromMdl ExFreePool ExInitializeResourceLite ExAcquireResourceExclusiveLite ExIsResourceAcquiredExclusiveLite \
    ExReleaseResourceLite ExDeleteResourceLite ExInterlockedAddUlong ExInterlockedPushEntryList ExInterlockedPopEntryList \
    ExUuidCreate RtlInitString RtlEqualString RtlCompareString RtlUTF8ToUnicodeN RtlUnicodeToUTF8N RtlCharToInteger \
    RtlHashUnicodeString RtlTimeToSecondsSince1970 RtlSecondsSince1970ToTime RtlFindMostSignificantBit \
    RtlFindLeastSignificantBit IoIsWdmVersionAvailable isdigit _strupr strtok_s strcmp RtlCaptureContext RtlLookupFunctionEntry \
    RtlVirtualUnwind RtlUnwindEx IoStartPacket IoStartNextPacket IoAllocateIrp IoFreeIrp IoInitializeTimer IoStartTimer \
    IoStopTimer IoRegisterDriverReinitialization IoAttachDevice IoMakeAssociatedIrp IoDetachDevice IofCompleteRequest";
const MORE: &str = "DbgPrint ExAllocatePool2 ExFreePoolWithTag ObfDereferenceObject ZwClose RtlInitUnicodeString IoCreateDevice \
    IoDeleteDevice KeBugCheckEx memset memcpy RtlInitializeGenericTable RtlInsertElementGenericTable RtlDeleteElementGenericTable \
    RtlLookupElementGenericTable RtlEnumerateGenericTable RtlIsGenericTableEmpty RtlInitializeGenericTableAvl \
    RtlInsertElementGenericTableAvl RtlDeleteElementGenericTableAvl RtlLookupElementGenericTableAvl RtlGetElementGenericTableAvl \
    RtlEnumerateGenericTableAvl RtlNumberGenericTableElementsAvl PsSetCreateProcessNotifyRoutineEx PsSetCreateThreadNotifyRoutine \
    PsRemoveCreateThreadNotifyRoutine PsSetLoadImageNotifyRoutine PsRemoveLoadImageNotifyRoutine PsLookupProcessByProcessId \
    PsGetProcessId RtlCreateSecurityDescriptor RtlSetDaclSecurityDescriptor RtlGetDaclSecurityDescriptor RtlLengthSid RtlCreateAcl \
    RtlAddAccessAllowedAce ObOpenObjectByPointer ZwSetSecurityObject ZwQuerySecurityObject IoCheckShareAccess ZwCreateFile \
    ZwDeviceIoControlFile ZwQueryInformationFile ZwSetInformationFile ZwFlushBuffersFile IoGetConfigurationInformation \
    IoGetInitialStack IoWithinStackLimits RtlDuplicateUnicodeString RtlCreateUnicodeString RtlFreeUnicodeString ZwCreateEvent \
    ZwSetEvent ZwResetEvent ZwOpenSymbolicLinkObject ZwQuerySymbolicLinkObject KeSetSystemGroupAffinityThread \
    KeRevertToUserGroupAffinityThread";
const SERVICES: &str = "DbgPrint ExAllocatePool2 ObfDereferenceObject ZwClose RtlInitUnicodeString IoCreateDevice IoDeleteDevice \
    IoCreateSymbolicLink IoDeleteSymbolicLink IofCompleteRequest KeInitializeEvent KeSetEvent KeWaitForSingleObject \
    KeDelayExecutionThread KeEnterCriticalRegion KeLeaveCriticalRegion PsCreateSystemThread PsTerminateSystemThread KeBugCheckEx memset \
    memcpy __chkstk IoWMIRegistrationControl IoWMIOpenBlock IoWMIQuerySingleInstance IoWMISetSingleInstance \
    IoWMISetNotificationCallback KeExpandKernelStackAndCallout IoGetStackLimits ExInitializeResourceLite \
    ExAcquireResourceExclusiveLite ExAcquireSharedWaitForExclusive ExReleaseResourceForThreadLite ExReleaseResourceLite \
    ExDeleteResourceLite ExSetResourceOwnerPointer KeStackAttachProcess KeUnstackDetachProcess IoGetCurrentProcess \
    SeCaptureSubjectContext SeReleaseSubjectContext SeAccessCheck RtlCreateSecurityDescriptor RtlSetDaclSecurityDescriptor \
    RtlCreateAcl PoRegisterPowerSettingCallback PoUnregisterPowerSettingCallback ZwCreateFile ZwDeviceIoControlFile \
    RtlCreateUnicodeString ExFreePoolWithTag PsGetCurrentThreadId KeGetCurrentThread PsLookupThreadByThreadId ZwCreateKey ZwSetValueKey \
    IoRegisterLastChanceShutdownNotification";
const WMI_LIBRARY: &str = "WmiSystemControl WmiCompleteRequest WmiFireEvent";
const PROGRAM_IMPORTS: &str = "NtTerminateProcess NtCreateFile NtDeviceIoControlFile NtCancelIoFileEx NtWaitForSingleObject NtClose \
    NtDisplayString NtOpenFile NtReadFile NtWriteFile NtCancelIoFile NtCancelSynchronousIoFile \
    NtQueryInformationFile NtSetInformationFile NtCreateIoCompletion NtSetIoCompletion NtRemoveIoCompletion \
    NtCreateEvent NtSetEvent NtResetEvent NtClearEvent NtWaitForMultipleObjects NtCreateTimer NtSetTimer \
    NtCancelTimer NtYieldExecution NtQuerySystemTime NtQueryPerformanceCounter NtTestAlert NtQueueApcThread \
    NtCreateThreadEx NtQueryInformationProcess NtQuerySystemInformation NtAllocateVirtualMemory \
    NtFreeVirtualMemory NtProtectVirtualMemory NtDelayExecution NtInitiatePowerAction";

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
        command_line: &format!("services=foreign.sys{wdk} suite=foreign.exe {}", case.words),
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
