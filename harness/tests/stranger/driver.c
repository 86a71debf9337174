/* A driver as somebody else could have written it: WDM, C, its own declarations, for a PCI device whose requests it passes
   down. */

typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef unsigned int ULONG;
typedef unsigned long long ULONG_PTR;
typedef int NTSTATUS;

#define OK 0
#define NOT_SUPPORTED ((NTSTATUS)0xc00000bb)

typedef struct { NTSTATUS Status; ULONG_PTR Information; } IO_STATUS_BLOCK;

typedef struct {
    UCHAR Major, Minor, Flags, Control;
    UCHAR Parameters[0x20 + 4];
    void *Device, *File, *Completion, *Context;
} STACK_LOCATION;
_Static_assert(sizeof(STACK_LOCATION) == 0x48, "a stack location");

typedef struct {
    UCHAR Before[0x30];
    IO_STATUS_BLOCK Result;
    UCHAR RequestorMode, PendingReturned, StackCount, CurrentLocation;
    UCHAR Between[0xb8 - 0x44];
    STACK_LOCATION *Current;
} IRP;
_Static_assert(__builtin_offsetof(IRP, CurrentLocation) == 0x43, "an IRP");
_Static_assert(__builtin_offsetof(IRP, Current) == 0xb8, "an IRP");

typedef struct DEVICE {
    UCHAR Before[0x30];
    ULONG Flags;
    UCHAR Between[0x40 - 0x34];
    struct DEVICE **Extension;
} DEVICE;
_Static_assert(__builtin_offsetof(DEVICE, Extension) == 0x40, "a device");

struct DRIVER;
typedef NTSTATUS DISPATCH(DEVICE *, IRP *);
typedef struct { void *Driver; NTSTATUS (*AddDevice)(struct DRIVER *, DEVICE *); } EXTENSION;
typedef struct DRIVER {
    UCHAR Before[0x30];
    EXTENSION *Extension;
    UCHAR Between[0x68 - 0x38];
    void (*Unload)(struct DRIVER *);
    DISPATCH *Major[28];
} DRIVER;
_Static_assert(__builtin_offsetof(DRIVER, Major) == 0x70, "a driver");

__declspec(dllimport) ULONG DbgPrint(const char *, ...);
__declspec(dllimport) NTSTATUS IoCreateDevice(DRIVER *, ULONG, void *, ULONG, ULONG, UCHAR, DEVICE **);
__declspec(dllimport) void IoDeleteDevice(DEVICE *);
__declspec(dllimport) DEVICE *IoAttachDeviceToDeviceStack(DEVICE *, DEVICE *);
__declspec(dllimport) void IoDetachDevice(DEVICE *);
__declspec(dllimport) NTSTATUS IofCallDriver(DEVICE *, IRP *);
__declspec(dllimport) void IofCompleteRequest(IRP *, UCHAR);

enum { CREATE = 0, CLOSE = 2, CLEANUP = 18, POWER = 22, PNP = 27 };
enum { START = 0, REMOVE = 2 };

static DEVICE *lower(DEVICE *device) { return *device->Extension; }

static NTSTATUS pass(DEVICE *device, IRP *irp) {
    irp->CurrentLocation++;
    irp->Current++;
    return IofCallDriver(lower(device), irp);
}

static NTSTATUS plug_and_play(DEVICE *device, IRP *irp) {
    UCHAR minor = irp->Current->Minor;
    if (minor == START) DbgPrint("stranger: starts\n");
    if (minor != REMOVE) return pass(device, irp);
    irp->Result.Status = OK;
    DEVICE *below = lower(device);
    NTSTATUS status = pass(device, irp);
    IoDetachDevice(below);
    IoDeleteDevice(device);
    DbgPrint("stranger: is removed\n");
    return status;
}

static NTSTATUS succeed(DEVICE *device, IRP *irp) {
    (void)device;
    irp->Result.Status = OK;
    irp->Result.Information = 0;
    IofCompleteRequest(irp, 0);
    return OK;
}

static NTSTATUS add_device(DRIVER *driver, DEVICE *below) {
    DEVICE *device;
    NTSTATUS status = IoCreateDevice(driver, sizeof(DEVICE *), 0, 0x22, 0, 0, &device);
    if (status < 0) return status;
    *device->Extension = IoAttachDeviceToDeviceStack(device, below);
    device->Flags &= ~0x80u;
    return OK;
}

static void unload(DRIVER *driver) {
    (void)driver;
    DbgPrint("stranger: unloads\n");
}

NTSTATUS DriverEntry(DRIVER *driver, void *path) {
    (void)path;
    DbgPrint("stranger: is here\n");
    driver->Extension->AddDevice = add_device;
    driver->Unload = unload;
    driver->Major[PNP] = plug_and_play;
    driver->Major[POWER] = pass;
    driver->Major[CREATE] = driver->Major[CLOSE] = driver->Major[CLEANUP] = succeed;
    return OK;
}
