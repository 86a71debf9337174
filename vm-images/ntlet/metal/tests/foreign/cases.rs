//! The guests: what is in each, and how it is to end.

/// How a guest is to end.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// In order, having said this.
    Orderly(&'static [&'static str]),
    /// In a bug check, having said this.
    BugCheck(&'static [&'static str]),
}

/// A guest: how its files are compiled, and how it is to end.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is defined in the WDM driver, in the framework driver, and in the program.
    pub(crate) wdm: &'static [&'static str],
    pub(crate) kmdf: &'static [&'static str],
    pub(crate) program: &'static [&'static str],
    /// The WDM driver of a PnP device, if the guest has one, and what is defined in it.
    pub(crate) pnp: Option<&'static [&'static str]>,
    /// The framework that drivers are bound to instead of ntlet's, if the guest has one.
    pub(crate) library: Option<&'static [&'static str]>,
    /// Half of the WDM driver's file is missing, and the framework driver's INF makes no sense.
    pub(crate) is_damaged: bool,
    /// The PnP driver is that of a card in a slot, which is ejected and put back.
    pub(crate) is_in_slot: bool,
    /// The PnP driver is that of a card which stays.
    pub(crate) has_card: bool,
    /// Whether the guest has the drivers that try what sample drivers use.
    pub(crate) has_wdk: bool,
    /// The guest's clock counts its instructions, a nanosecond each, and the boot may take so many of them.
    pub(crate) most_instructions: Option<u64>,
    pub(crate) processors: u32,
    /// More words of the kernel's command line.
    pub(crate) words: &'static str,
    pub(crate) end: End,
}

const fn case(name: &'static str, end: End) -> Case {
    Case {
        name,
        wdm: &[],
        kmdf: &[],
        program: &[],
        pnp: None,
        library: None,
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
            "foreign: services of the kernel: 33 checks, 0 wrong",
            "foreign: another process's memory holds beef, and back again: 1",
            "foreign: told of the program and of a driver: 3f, 0",
            "foreign: PnP driver removed",
        ]),
    )
};

/// What the driver of a PnP device says when it has been started.
pub(crate) const STARTED: &str = "foreign: PnP driver started";
/// Most instructions from the machine's first one to that, waits for hardware included: twice what they are. An emulator does some hundred
/// million a second, so that most of the 0.7 s that a boot may take are left for QEMU's own start.
pub(crate) const BOOT: u64 = 60_000_000;

pub(crate) const CASES: &[Case] = &[
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
        library: Some(&[]),
        ..case(
            "library",
            End::Orderly(&[
                "foreign: setting c0000034",
                "the framework is KMDF 1.15.0 from a file",
                "foreign: a second library: c0000035",
                "foreign: the library goes to work",
                "foreign: client of 444 functions, \\Registry\\Machine\\System\\CurrentControlSet\\Services\\foreignkmdf",
                "foreign: the library is called, with its own globals",
                "foreign: client gone, with its own globals",
                "foreign: the library rests",
                "the DriverEntry of foreignkmdf.sys failed with status 0xdeadbeef",
                " 0 failed",
                "foreign: the library is unloaded",
            ]),
        )
    },
    Case {
        library: Some(&["-DGARBAGE"]),
        ..case(
            "library-garbage",
            End::Orderly(&["the framework foreignlib.sys does not run: status 0xdeadbeef; no driver is started"]),
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
