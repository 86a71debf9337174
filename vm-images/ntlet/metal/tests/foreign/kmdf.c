/* A KMDF driver as somebody else would write it, bound to version 1.15 of the framework: a root-enumerated device, a default queue and
   a manual one, every transfer method, a timer. What the framework's headers and its entry stub give is written here, too. */
#include "wdm.h"
#include "protocol.h"

typedef PVOID WDFDEVICE, WDFQUEUE, WDFREQUEST, WDFTIMER, WDFDRIVER;
typedef struct { ULONG Size; ULONG Pad; PVOID EvtDriverDeviceAdd, EvtDriverUnload; ULONG DriverInitFlags, DriverPoolTag; } WDF_DRIVER_CONFIG;
typedef struct { ULONG Size; int DispatchType, PowerManaged; BOOLEAN AllowZeroLengthRequests, DefaultQueue; PVOID EvtIoDefault, EvtIoRead, EvtIoWrite, EvtIoDeviceControl, EvtIoInternalDeviceControl, EvtIoStop, EvtIoResume, EvtIoCanceledOnQueue; ULONG NumberOfPresentedRequests; WDFDRIVER Driver; } WDF_IO_QUEUE_CONFIG;
typedef struct { ULONG Size; PVOID EvtCleanupCallback, EvtDestroyCallback; int ExecutionLevel, SynchronizationScope; PVOID ParentObject; SIZE_T ContextSizeOverride; const void *ContextTypeInfo; } WDF_OBJECT_ATTRIBUTES;
typedef struct { ULONG Size; PVOID EvtTimerFunc; ULONG Period; BOOLEAN AutomaticSerialization; ULONG TolerableDelay; __declspec(align(8)) BOOLEAN UseHighResolutionTimer; } WDF_TIMER_CONFIG;
typedef struct { ULONG Size; PVOID D0Entry, D0EntryPostInterruptsEnabled, D0Exit, D0ExitPreInterruptsDisabled, PrepareHardware, ReleaseHardware, Others[11]; } WDF_PNPPOWER_EVENT_CALLBACKS;
typedef struct { ULONG Size, TotalForwardProgressRequests; int ForwardProgressReservedPolicy; PVOID EvtIoWdmIrpForForwardProgress, EvtIoAllocateResourcesForReservedRequest, EvtIoAllocateRequestResources; } WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY;
_Static_assert(sizeof(WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY) == 40, "layout");
typedef struct { ULONG Size; PVOID EvtDpcFunc; BOOLEAN AutomaticSerialization; } WDF_DPC_CONFIG;
_Static_assert(sizeof(WDF_PNPPOWER_EVENT_CALLBACKS) == 144 && sizeof(WDF_DPC_CONFIG) == 24, "layout");
typedef struct { USHORT Size; UCHAR MinorFunction; int Type; SIZE_T OutputBufferLength, InputBufferLength; ULONG IoControlCode; PVOID Type3InputBuffer; } WDF_REQUEST_PARAMETERS;
typedef struct { ULONG Size; const WCHAR *Component; ULONG Major, Minor, Build, FuncCount; void *FuncTable; PVOID Module; } WDF_BIND_INFO;
_Static_assert(sizeof(WDF_IO_QUEUE_CONFIG) == 96 && sizeof(WDF_OBJECT_ATTRIBUTES) == 56 && sizeof(WDF_TIMER_CONFIG) == 40, "layout");
_Static_assert(sizeof(WDF_DRIVER_CONFIG) == 32 && sizeof(WDF_BIND_INFO) == 48 && sizeof(WDF_REQUEST_PARAMETERS) == 40, "layout");

IMPORT NTSTATUS WdfVersionBind(DRIVER_OBJECT *, UNICODE_STRING *, WDF_BIND_INFO *, PVOID *);
IMPORT NTSTATUS WdfVersionUnbind(UNICODE_STRING *, WDF_BIND_INFO *, PVOID);

static PVOID *Functions, Globals;
static WDF_BIND_INFO Info = { sizeof Info, L"KmdfLibrary", 1, 15, 0, 444, &Functions, NULL };
#define CALL(index, type, ...) ((type)Functions[index])(Globals, ##__VA_ARGS__)
#define DRIVER_CREATE(...) CALL(116, NTSTATUS (*)(PVOID, DRIVER_OBJECT *, UNICODE_STRING *, WDF_OBJECT_ATTRIBUTES *, WDF_DRIVER_CONFIG *, WDFDRIVER *), __VA_ARGS__)
#define IN_CALLER_CONTEXT(...) CALL(74, void (*)(PVOID, PVOID, PVOID), __VA_ARGS__)
#define SET_IO_TYPE(...) CALL(61, void (*)(PVOID, PVOID, int), __VA_ARGS__)
#define DEVICE_CREATE(...) CALL(75, NTSTATUS (*)(PVOID, PVOID *, WDF_OBJECT_ATTRIBUTES *, WDFDEVICE *), __VA_ARGS__)
#define SYMBOLIC_LINK(...) CALL(80, NTSTATUS (*)(PVOID, WDFDEVICE, UNICODE_STRING *), __VA_ARGS__)
#define ENQUEUE(...) CALL(91, NTSTATUS (*)(PVOID, WDFDEVICE, WDFREQUEST), __VA_ARGS__)
#define QUEUE_CREATE(...) CALL(152, NTSTATUS (*)(PVOID, WDFDEVICE, WDF_IO_QUEUE_CONFIG *, WDF_OBJECT_ATTRIBUTES *, WDFQUEUE *), __VA_ARGS__)
#define NEXT(...) CALL(158, NTSTATUS (*)(PVOID, WDFQUEUE, WDFREQUEST *), __VA_ARGS__)
#define COMPLETE(...) CALL(265, void (*)(PVOID, WDFREQUEST, NTSTATUS, ULONG_PTR), __VA_ARGS__)
#define PARAMETERS(...) CALL(266, void (*)(PVOID, WDFREQUEST, WDF_REQUEST_PARAMETERS *), __VA_ARGS__)
#define BUFFER(index, ...) CALL(index, NTSTATUS (*)(PVOID, WDFREQUEST, SIZE_T, PVOID *, SIZE_T *), __VA_ARGS__)
#define MDL_OF(index, ...) CALL(index, NTSTATUS (*)(PVOID, WDFREQUEST, MDL **), __VA_ARGS__)
#define FORWARD(...) CALL(281, NTSTATUS (*)(PVOID, WDFREQUEST, WDFQUEUE), __VA_ARGS__)
#define IS_RESERVED(...) CALL(394, BOOLEAN (*)(PVOID, WDFREQUEST), __VA_ARGS__)
#define RESERVE(...) CALL(390, NTSTATUS (*)(PVOID, WDFQUEUE, WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY *), __VA_ARGS__)
#define TIMER_CREATE(...) CALL(318, NTSTATUS (*)(PVOID, WDF_TIMER_CONFIG *, WDF_OBJECT_ATTRIBUTES *, WDFTIMER *), __VA_ARGS__)
#define TIMER_START(...) CALL(319, BOOLEAN (*)(PVOID, WDFTIMER, LONGLONG), __VA_ARGS__)
#define SET_PNP_CALLBACKS(...) CALL(55, void (*)(PVOID, PVOID, WDF_PNPPOWER_EVENT_CALLBACKS *), __VA_ARGS__)
#define DPC_CREATE(...) CALL(111, NTSTATUS (*)(PVOID, WDF_DPC_CONFIG *, WDF_OBJECT_ATTRIBUTES *, PVOID *), __VA_ARGS__)
#define DPC_ENQUEUE(...) CALL(112, BOOLEAN (*)(PVOID, PVOID), __VA_ARGS__)
#define OBJECT_DELETE(...) CALL(208, void (*)(PVOID, PVOID), __VA_ARGS__)
enum { INPUT_BUFFER = 269, OUTPUT_BUFFER = 270, INPUT_MDL = 271, OUTPUT_MDL = 272, UNSAFE_INPUT = 273, UNSAFE_OUTPUT = 274 };

static WDFQUEUE Held;
static WDFDEVICE Device;
static KEVENT Fired;

static void copy_a_byte(volatile UCHAR *to, volatile UCHAR *from) { *to = *from; }
/* By its address: the compiler does not unwind a call that it can prove not to fault. */
static void (*volatile copy_byte)(volatile UCHAR *, volatile UCHAR *) = copy_a_byte;
static void fired(WDFTIMER timer) { KeSetEvent(&Fired, 0, FALSE); }


/* The mistakes, on request: callbacks that come back with the IRQL raised, or not at all. */
#ifdef CLEANUP_RAISED
static void cleanup(PVOID object) { KeSetIrql(DISPATCH_LEVEL); }
#else
#define cleanup NULL
#endif
#ifdef DPC_RAISED
static void deferred(PVOID dpc) { KeSetIrql(3); }
static void misuse_dpc(void)
{
    WDF_DPC_CONFIG config = { .Size = sizeof config, .EvtDpcFunc = deferred };
    WDF_OBJECT_ATTRIBUTES attributes = { .Size = sizeof attributes, .ExecutionLevel = 1, .SynchronizationScope = 1, .ParentObject = Device };
    PVOID dpc;
    if (NT_SUCCESS(DPC_CREATE(&config, &attributes, &dpc))) DPC_ENQUEUE(dpc);
}
#else
#define misuse_dpc()
#endif
#ifdef RELEASE_BLOCK
static NTSTATUS release_hardware(WDFDEVICE device, PVOID resources)
{
    KEVENT never;
    KeInitializeEvent(&never, 0, FALSE);
    return KeWaitForSingleObject(&never, 0, 0, FALSE, NULL);
}
#else
#define release_hardware NULL
#endif

static ULONG check_timer(void)
{
    WDF_TIMER_CONFIG config = { .Size = sizeof config, .EvtTimerFunc = fired };
    WDF_OBJECT_ATTRIBUTES attributes = { .Size = sizeof attributes, .EvtCleanupCallback = cleanup, .ExecutionLevel = 1, .SynchronizationScope = 1, .ParentObject = Device };
    LARGE_INTEGER patience = { .QuadPart = -10 * 10000000ll };
    WDFTIMER timer;
    misuse_dpc();
    KeInitializeEvent(&Fired, 1, FALSE);
    NTSTATUS status = TIMER_CREATE(&config, &attributes, &timer);
    if (!NT_SUCCESS(status)) { DbgPrint("foreign: FAILED framework timer %x\n", status); return 1; }
    TIMER_START(timer, -10000);
    status = KeWaitForSingleObject(&Fired, 0, 0, FALSE, &patience);
    OBJECT_DELETE(timer);
#ifdef DELETE_TWICE
    OBJECT_DELETE(timer);
#endif
#ifdef HANDLE_OF_NONSENSE
    OBJECT_DELETE((PVOID)0xDEADBEEFull);
#endif
    return status != STATUS_SUCCESS;
}

/* Raw addresses mean something in their program only: they are used before the request is queued. */
static void in_caller_context(WDFDEVICE device, WDFREQUEST request)
{
    WDF_REQUEST_PARAMETERS parameters = { .Size = sizeof parameters };
    PVOID in, out;
    SIZE_T length;
    PARAMETERS(request, &parameters);
    if (parameters.Type != IRP_MJ_DEVICE_CONTROL || parameters.IoControlCode != IOCTL_NEITHER) {
        NTSTATUS status = ENQUEUE(device, request);
        if (!NT_SUCCESS(status)) COMPLETE(request, status, 0);
        return;
    }
    NTSTATUS status = BUFFER(UNSAFE_INPUT, request, 1, &in, &length);
    if (NT_SUCCESS(status)) status = BUFFER(UNSAFE_OUTPUT, request, 1, &out, &length);
    if (NT_SUCCESS(status)) {
        __try {
            ProbeForRead(in, 1, 1);
            ProbeForWrite(out, 1, 1);
            copy_byte(out, in);
        } __except (1) {
            status = __exception_code();
        }
    }
    COMPLETE(request, status, NT_SUCCESS(status));
}

static void control(WDFQUEUE queue, WDFREQUEST request, SIZE_T output, SIZE_T input, ULONG code)
{
    UCHAR *in, *out;
    SIZE_T length, count = 0;
    NTSTATUS status;
    MDL *mdl;
    WDFREQUEST held;

    switch (code) {
    case IOCTL_CHECK:
        status = BUFFER(OUTPUT_BUFFER, request, 8, (PVOID *)&out, &length);
        if (NT_SUCCESS(status)) { ((ULONG *)out)[1] = check_timer(); ((ULONG *)out)[0] = 1; }
        COMPLETE(request, status, 8);
        return;
    case IOCTL_ADD_ONE:
        status = BUFFER(INPUT_BUFFER, request, 1, (PVOID *)&in, &length);
        if (NT_SUCCESS(status)) status = BUFFER(OUTPUT_BUFFER, request, length, (PVOID *)&out, NULL);
        for (SIZE_T at = 0; NT_SUCCESS(status) && at < length; at++) out[at] = in[at] + 1;
        COMPLETE(request, status, length);
#ifdef HANDLER_RAISED
        KeSetIrql(DISPATCH_LEVEL);
#endif
        return;
    case IOCTL_SUM_IN:
        /* The "output" buffer of a direct-in control is its second input: its pages are locked for reading. */
        status = MDL_OF(OUTPUT_MDL, request, &mdl);
        if (!NT_SUCCESS(status)) { COMPLETE(request, status, 0); return; }
        in = MmMapLockedPagesSpecifyCache(mdl, 0, 1, NULL, FALSE, 16);
        for (SIZE_T at = 0; in && at < output; at++) count += in[at];
        COMPLETE(request, STATUS_SUCCESS, count / 4);
        return;
    case IOCTL_FILL_OUT:
        status = BUFFER(OUTPUT_BUFFER, request, output, (PVOID *)&out, &length);
        for (SIZE_T at = 0; NT_SUCCESS(status) && at < length; at++) out[at] = 0x5a;
        COMPLETE(request, status, length);
        return;
    case IOCTL_HOLD:
    case IOCTL_SCARCE:
        status = FORWARD(request, Held);
        if (!NT_SUCCESS(status)) COMPLETE(request, status, 0);
        return;
    case IOCTL_RELEASE:
        while (NT_SUCCESS(NEXT(Held, &held))) { COMPLETE(held, STATUS_SUCCESS, IS_RESERVED(held)); count++; }
        COMPLETE(request, STATUS_SUCCESS, count);
        return;
    default:
        COMPLETE(request, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

/* The driver has nothing for one kind of request, as if memory had run out: those get the reserved request, one at a time. */
static NTSTATUS allocate_resources(WDFQUEUE queue, WDFREQUEST request)
{
    WDF_REQUEST_PARAMETERS parameters = { .Size = sizeof parameters };
    PARAMETERS(request, &parameters);
    return parameters.Type == IRP_MJ_DEVICE_CONTROL && parameters.IoControlCode == IOCTL_SCARCE ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}

static ULONG Prepared;
static NTSTATUS allocate_for_reserved(WDFQUEUE queue, WDFREQUEST request)
{
    Prepared += IS_RESERVED(request);
    return STATUS_SUCCESS;
}

static NTSTATUS device_add(WDFDRIVER driver, PVOID init)
{
    WDF_IO_QUEUE_CONFIG parallel = { .Size = sizeof parallel, .DispatchType = 2, .PowerManaged = 2, .DefaultQueue = TRUE, .EvtIoDeviceControl = control, .NumberOfPresentedRequests = ~0u };
    WDF_IO_QUEUE_CONFIG manual = { .Size = sizeof manual, .DispatchType = 3, .PowerManaged = 2 };
    WDF_PNPPOWER_EVENT_CALLBACKS callbacks = { .Size = sizeof callbacks, .ReleaseHardware = release_hardware };
    WDF_IO_QUEUE_FORWARD_PROGRESS_POLICY policy = { .Size = sizeof policy, .TotalForwardProgressRequests = 1, .ForwardProgressReservedPolicy = 1, .EvtIoAllocateResourcesForReservedRequest = allocate_for_reserved, .EvtIoAllocateRequestResources = allocate_resources };
    WDFQUEUE queue;
    UNICODE_STRING link;
#ifdef ADD_GARBAGE
    return (NTSTATUS)0xDEADBEEF;
#endif
#ifdef MISSING
    CALL(0, void (*)(PVOID));
#endif
    SET_PNP_CALLBACKS(init, &callbacks);
    IN_CALLER_CONTEXT(init, in_caller_context);
    NTSTATUS status = DEVICE_CREATE(&init, NULL, &Device);
    if (!NT_SUCCESS(status)) return status;
    status = QUEUE_CREATE(Device, &parallel, NULL, &queue);
    if (NT_SUCCESS(status)) status = RESERVE(queue, &policy);
    if (NT_SUCCESS(status) && Prepared != 1) status = STATUS_UNSUCCESSFUL;
    if (NT_SUCCESS(status)) status = QUEUE_CREATE(Device, &manual, NULL, &Held);
    RtlInitUnicodeString(&link, L"\\??\\ForeignFramework");
    status = NT_SUCCESS(status) ? SYMBOLIC_LINK(Device, &link) : status;
#ifdef ADD_PENDING
    return STATUS_PENDING;
#endif
    return status;
}

static void unloading(WDFDRIVER driver) { DbgPrint("foreign: framework driver unloaded\n"); }

/* The entry stub that every KMDF driver is linked with. */

static UNICODE_STRING Path;
static WCHAR PathBuffer[256];
static void (*Displaced)(DRIVER_OBJECT *);
static void stub_unload(DRIVER_OBJECT *driver)
{
    if (Displaced) Displaced(driver);
    WdfVersionUnbind(&Path, &Info, Globals);
}

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    WDF_DRIVER_CONFIG config = { .Size = sizeof config, .EvtDriverDeviceAdd = device_add, .EvtDriverUnload = unloading };
    for (int at = 0; at < path->Length / 2 && at < 255; at++) PathBuffer[at] = path->Buffer[at];
    Path = (UNICODE_STRING){ path->Length, sizeof PathBuffer, PathBuffer };
    NTSTATUS status = WdfVersionBind(driver, &Path, &Info, &Globals);
    if (!NT_SUCCESS(status)) return status;
    status = DRIVER_CREATE(driver, path, NULL, &config, NULL);
    if (!NT_SUCCESS(status)) { WdfVersionUnbind(&Path, &Info, Globals); return status; }
    Displaced = driver->DriverUnload;
    driver->DriverUnload = stub_unload;
    return STATUS_SUCCESS;
}
