/* A WDM function driver for a device below the root, as somebody else would write it: a remove lock, requests passed down, a completion
   routine at start; and, on request, the mistakes that drivers make when devices come and go. */
#include "wdm.h"

#define IRP_MJ_POWER 22
#define IRP_MJ_SYSTEM_CONTROL 23
#define IRP_MJ_PNP 27
#define IRP_MN_START_DEVICE 0
#define IRP_MN_QUERY_REMOVE_DEVICE 1
#define IRP_MN_REMOVE_DEVICE 2
#define IRP_MN_CANCEL_REMOVE_DEVICE 3
#define IRP_MN_SURPRISE_REMOVAL 23
#define SL_INVOKE_ALL 0xE0
#define DO_POWER_PAGABLE 0x2000
#define STATUS_MORE_PROCESSING_REQUIRED ((NTSTATUS)0xC0000016)
#define TAG 'pnPf'

struct extension { DEVICE_OBJECT *Below, *Physical; IO_REMOVE_LOCK Lock; BOOLEAN Started; };

typedef NTSTATUS COMPLETION(DEVICE_OBJECT *, IRP *, PVOID);

__attribute__((unused)) static void wait_for_ever(void)
{
    KEVENT never;
    KeInitializeEvent(&never, 0, FALSE);
    KeWaitForSingleObject(&never, 0, 0, FALSE, NULL);
}

static void IoSkipCurrentIrpStackLocation(IRP *irp) { irp->CurrentLocation++; irp->Tail.CurrentStackLocation++; }

static void IoCopyAndSetCompletion(IRP *irp, COMPLETION *routine, PVOID context)
{
    IO_STACK_LOCATION *here = irp->Tail.CurrentStackLocation, *next = here - 1;
    *next = *here;
    next->CompletionRoutine = routine;
    next->Context = context;
    next->Control = SL_INVOKE_ALL;
}

static NTSTATUS done(DEVICE_OBJECT *device, IRP *irp, PVOID event)
{
    KeSetEvent(event, 0, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static NTSTATUS complete(IRP *irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    IofCompleteRequest(irp, 0);
    return status;
}

/* The mistakes of service routines: QEMU's card raises its line when 0x60 is written, and lowers it when 0x64 is. */
#ifdef INTERRUPT
typedef struct {
    ULONG Version, Pad;
    DEVICE_OBJECT *PhysicalDeviceObject; PVOID *InterruptObject; BOOLEAN (*ServiceRoutine)(PVOID, PVOID); PVOID ServiceContext; KSPIN_LOCK *SpinLock; KIRQL SynchronizeIrql; BOOLEAN FloatingSave;
    PVOID Rest[4];
} IO_CONNECT_INTERRUPT_PARAMETERS;
static volatile ULONG *Registers;
static BOOLEAN serve(PVOID interrupt, PVOID context)
{
    switch (INTERRUPT) {
    case 1: return FALSE;
    case 2: KeBugCheckEx(0xE2, 1, 2, 3, 4);
    case 3: return *(volatile BOOLEAN *)0xFFFFF6FFDEAD0000ull;
    default: for (;;) ;
    }
}
static void interrupt(DEVICE_OBJECT *physical, const UCHAR *resources)
{
    static PVOID object;
    IO_CONNECT_INTERRUPT_PARAMETERS connect = { .Version = 2, .PhysicalDeviceObject = physical, .InterruptObject = &object, .ServiceRoutine = serve };
    const UCHAR *at = resources + 20;
    for (ULONG count = *(const ULONG *)(resources + 16); count; count--, at += 20)
        if (at[0] == 3) Registers = MmMapIoSpace((LARGE_INTEGER){ { *(const ULONG *)(at + 4), *(const LONG *)(at + 8) } }, *(const ULONG *)(at + 12), 0);
    if (Registers && NT_SUCCESS(IoConnectInterruptEx(&connect))) Registers[0x60 / 4] = 1;
}
#endif

static NTSTATUS start(struct extension *extension, IRP *irp)
{
    KEVENT event;
    KeInitializeEvent(&event, 0, FALSE);
    IoCopyAndSetCompletion(irp, done, &event);
    if (IofCallDriver(extension->Below, irp) == STATUS_PENDING) KeWaitForSingleObject(&event, 0, 0, FALSE, NULL);
    NTSTATUS status = irp->IoStatus.Status;
    if (NT_SUCCESS(status)) {
        extension->Started = TRUE;
        DbgPrint("foreign: PnP driver started\n");
#ifdef INTERRUPT
        interrupt(extension->Physical, IoGetCurrentIrpStackLocation(irp)->Parameters.Others[1]);
#endif
    }
    return complete(irp, status);
}

static NTSTATUS pnp(DEVICE_OBJECT *device, IRP *irp)
{
    struct extension *extension = device->DeviceExtension;
    NTSTATUS status = IoAcquireRemoveLockEx(&extension->Lock, irp, __FILE__, __LINE__, sizeof extension->Lock);
    if (!NT_SUCCESS(status)) return complete(irp, status);
    switch (IoGetCurrentIrpStackLocation(irp)->MinorFunction) {
    case IRP_MN_START_DEVICE:
        status = start(extension, irp);
        break;
    case IRP_MN_REMOVE_DEVICE:
#ifdef REMOVE_BLOCK
        wait_for_ever();
#endif
#ifdef REMOVE_KEEP
        IoMarkIrpPending(irp);
        return STATUS_PENDING;
#endif
        irp->IoStatus.Status = STATUS_SUCCESS;
        IoSkipCurrentIrpStackLocation(irp);
        status = IofCallDriver(extension->Below, irp);
        IoReleaseRemoveLockAndWaitEx(&extension->Lock, irp, sizeof extension->Lock);
        IoDetachDevice(extension->Below);
        IoDeleteDevice(device);
        DbgPrint("foreign: PnP driver removed\n");
        return status;
    case IRP_MN_QUERY_REMOVE_DEVICE:
    case IRP_MN_CANCEL_REMOVE_DEVICE:
    case IRP_MN_SURPRISE_REMOVAL:
        irp->IoStatus.Status = STATUS_SUCCESS;
        /* fall through */
    default:
        IoSkipCurrentIrpStackLocation(irp);
        status = IofCallDriver(extension->Below, irp);
    }
    IoReleaseRemoveLockEx(&extension->Lock, irp, sizeof extension->Lock);
    return status;
}

static NTSTATUS power(DEVICE_OBJECT *device, IRP *irp)
{
    struct extension *extension = device->DeviceExtension;
    PoStartNextPowerIrp(irp);
#ifdef POWER_KEEP
    IoMarkIrpPending(irp);
    return STATUS_PENDING;
#endif
#ifdef POWER_BLOCK
    wait_for_ever();
#endif
    IoSkipCurrentIrpStackLocation(irp);
    return PoCallDriver(extension->Below, irp);
}

static NTSTATUS pass(DEVICE_OBJECT *device, IRP *irp)
{
    struct extension *extension = device->DeviceExtension;
    IoSkipCurrentIrpStackLocation(irp);
    return IofCallDriver(extension->Below, irp);
}

static NTSTATUS add(DRIVER_OBJECT *driver, DEVICE_OBJECT *physical)
{
    DEVICE_OBJECT *device;
#ifdef ADD_GARBAGE
    return (NTSTATUS)0xDEADBEEF;
#endif
#ifdef ADD_BLOCK
    wait_for_ever();
#endif
    NTSTATUS status = IoCreateDevice(driver, sizeof(struct extension), NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    if (!NT_SUCCESS(status)) return status;
    struct extension *extension = device->DeviceExtension;
    IoInitializeRemoveLockEx(&extension->Lock, TAG, 0, 0, sizeof extension->Lock);
    extension->Physical = physical;
    extension->Below = IoAttachDeviceToDeviceStack(device, physical);
    if (extension->Below == NULL) {
        IoDeleteDevice(device);
        return STATUS_UNSUCCESSFUL;
    }
    device->Flags |= DO_POWER_PAGABLE;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
#ifdef ADD_RAISED
    KeSetIrql(DISPATCH_LEVEL);
#endif
    return STATUS_SUCCESS;
}

static void unload(DRIVER_OBJECT *driver) { }

struct driver_extension { DRIVER_OBJECT *DriverObject; NTSTATUS (*AddDevice)(DRIVER_OBJECT *, DEVICE_OBJECT *); };

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    driver->MajorFunction[IRP_MJ_PNP] = pnp;
    driver->MajorFunction[IRP_MJ_POWER] = power;
    driver->MajorFunction[IRP_MJ_SYSTEM_CONTROL] = pass;
    driver->DriverUnload = unload;
    ((struct driver_extension *)driver->DriverExtension)->AddDevice = add;
    return STATUS_SUCCESS;
}
