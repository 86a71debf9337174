/* What drivers ask of the rest of the kernel, each function by what its page says: WMI as provider and as consumer, another process's addresses,
   a larger stack, access checks, resources that change hands, power settings, and answers without a request. */
#include "wdm.h"
#include "protocol.h"

#define TAG 'vrSf'
typedef struct { ULONG Data1; USHORT Data2, Data3; UCHAR Data4[8]; } GUID;
typedef struct { const GUID *Guid; ULONG InstanceCount, Flags; } WMIGUIDREGINFO;
typedef struct {
    ULONG GuidCount; WMIGUIDREGINFO *GuidList;
    NTSTATUS (*QueryWmiRegInfo)(DEVICE_OBJECT *, ULONG *, UNICODE_STRING *, UNICODE_STRING **, UNICODE_STRING *, DEVICE_OBJECT **);
    NTSTATUS (*QueryWmiDataBlock)(DEVICE_OBJECT *, IRP *, ULONG, ULONG, ULONG, ULONG *, ULONG, UCHAR *);
    NTSTATUS (*SetWmiDataBlock)(DEVICE_OBJECT *, IRP *, ULONG, ULONG, ULONG, UCHAR *);
    PVOID SetWmiDataItem, ExecuteWmiMethod;
    NTSTATUS (*WmiFunctionControl)(DEVICE_OBJECT *, IRP *, ULONG, int, BOOLEAN);
} WMILIB_CONTEXT;
typedef struct { ULONGLONG Words[13]; } ERESOURCE;
typedef struct { ULONGLONG Words[6]; } KAPC_STATE;
typedef struct { ULONGLONG Words[4]; } SECURITY_SUBJECT_CONTEXT;
typedef struct { ULONGLONG Words[5]; } SECURITY_DESCRIPTOR;
typedef struct { ULONG Read, Write, Execute, All; } GENERIC_MAPPING;
typedef struct { UCHAR AclRevision, Sbz1; USHORT AclSize, AceCount, Sbz2; } ACL;
typedef BOOLEAN FAST_CONTROL(PVOID, BOOLEAN, PVOID, ULONG, PVOID, ULONG, ULONG, IO_STATUS_BLOCK *, DEVICE_OBJECT *);
typedef struct { ULONG Size; PVOID Others[9]; FAST_CONTROL *FastIoDeviceControl; PVOID Rest[17]; } FAST_IO_DISPATCH;
_Static_assert(sizeof(FAST_IO_DISPATCH) == 224, "layout");

IMPORT NTSTATUS IoWMIRegistrationControl(DEVICE_OBJECT *, ULONG);
IMPORT NTSTATUS IoWMIOpenBlock(const GUID *, ULONG, PVOID *);
IMPORT NTSTATUS IoWMIQuerySingleInstance(PVOID, UNICODE_STRING *, ULONG *, PVOID);
IMPORT NTSTATUS IoWMISetSingleInstance(PVOID, UNICODE_STRING *, ULONG, ULONG, PVOID);
IMPORT NTSTATUS IoWMISetNotificationCallback(PVOID, void (*)(PVOID, PVOID), PVOID);
IMPORT NTSTATUS WmiSystemControl(WMILIB_CONTEXT *, DEVICE_OBJECT *, IRP *, int *);
IMPORT NTSTATUS WmiCompleteRequest(DEVICE_OBJECT *, IRP *, NTSTATUS, ULONG, CCHAR);
IMPORT NTSTATUS WmiFireEvent(DEVICE_OBJECT *, const GUID *, ULONG, ULONG, PVOID);
IMPORT NTSTATUS KeExpandKernelStackAndCallout(void (*)(PVOID), PVOID, SIZE_T);
IMPORT void IoGetStackLimits(ULONG_PTR *, ULONG_PTR *);
IMPORT NTSTATUS ExInitializeResourceLite(ERESOURCE *);
IMPORT BOOLEAN ExAcquireResourceExclusiveLite(ERESOURCE *, BOOLEAN);
IMPORT BOOLEAN ExAcquireSharedWaitForExclusive(ERESOURCE *, BOOLEAN);
IMPORT void ExReleaseResourceForThreadLite(ERESOURCE *, ULONG_PTR);
IMPORT void ExReleaseResourceLite(ERESOURCE *);
IMPORT NTSTATUS ExDeleteResourceLite(ERESOURCE *);
IMPORT void ExSetResourceOwnerPointer(ERESOURCE *, PVOID);
IMPORT void KeLeaveCriticalRegion(void);
IMPORT void KeStackAttachProcess(PVOID, KAPC_STATE *);
IMPORT void KeUnstackDetachProcess(KAPC_STATE *);
IMPORT PVOID IoGetCurrentProcess(void);
IMPORT HANDLE PsGetCurrentThreadId(void);
IMPORT PVOID KeGetCurrentThread(void);
IMPORT NTSTATUS PsLookupThreadByThreadId(HANDLE, PVOID *);
IMPORT NTSTATUS IoRegisterLastChanceShutdownNotification(DEVICE_OBJECT *);
IMPORT void SeCaptureSubjectContext(SECURITY_SUBJECT_CONTEXT *);
IMPORT void SeReleaseSubjectContext(SECURITY_SUBJECT_CONTEXT *);
IMPORT BOOLEAN SeAccessCheck(PVOID, SECURITY_SUBJECT_CONTEXT *, BOOLEAN, ULONG, ULONG, PVOID *, GENERIC_MAPPING *, KPROCESSOR_MODE, ULONG *, NTSTATUS *);
IMPORT NTSTATUS RtlCreateSecurityDescriptor(SECURITY_DESCRIPTOR *, ULONG);
IMPORT NTSTATUS RtlSetDaclSecurityDescriptor(SECURITY_DESCRIPTOR *, BOOLEAN, ACL *, BOOLEAN);
IMPORT NTSTATUS RtlCreateAcl(ACL *, ULONG, ULONG);
IMPORT NTSTATUS PoRegisterPowerSettingCallback(DEVICE_OBJECT *, const GUID *, NTSTATUS (*)(const GUID *, PVOID, ULONG, PVOID), PVOID, PVOID *);
IMPORT NTSTATUS PoUnregisterPowerSettingCallback(PVOID);
IMPORT NTSTATUS ZwCreateFile(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, LARGE_INTEGER *, ULONG, ULONG, ULONG, ULONG, PVOID, ULONG);
IMPORT NTSTATUS ZwDeviceIoControlFile(HANDLE, HANDLE, PVOID, PVOID, IO_STATUS_BLOCK *, ULONG, PVOID, ULONG, PVOID, ULONG);
IMPORT void RtlFreeUnicodeString(UNICODE_STRING *);
IMPORT BOOLEAN RtlCreateUnicodeString(UNICODE_STRING *, const WCHAR *);
IMPORT NTSTATUS ZwQuerySystemInformation(ULONG, PVOID, ULONG, ULONG *);
IMPORT NTSTATUS ZwCreateKey(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, ULONG, UNICODE_STRING *, ULONG, ULONG *);
IMPORT NTSTATUS ZwSetValueKey(HANDLE, UNICODE_STRING *, ULONG, ULONG, PVOID, ULONG);

static ULONG Checks, Failed;
static void check(BOOLEAN good, const char *what)
{
    Checks++;
    if (!good) { Failed++; DbgPrint("foreign: FAILED %s\n", what); }
}

/* Waits for what a worker of the kernel does: ten seconds at most. */
static BOOLEAN comes(BOOLEAN (*done)(void))
{
    LARGE_INTEGER moment = { .QuadPart = -10 * 10000 };
    for (int time = 0; time < 1000; time++) {
        if (done()) return TRUE;
        KeDelayExecutionThread(0, FALSE, &moment);
    }
    return FALSE;
}

/* WMI: one block of data and one of events. */

static const GUID Data = { 0xF0E1, 2, 3, { 4, 5, 6, 7, 8, 9, 10, 11 } }, Event = { 0xF0E2, 2, 3, { 4, 5, 6, 7, 8, 9, 10, 11 } };
static WMIGUIDREGINFO Blocks[] = { { &Data, 2, 0 }, { &Event, 1, 0x40 } };
static ULONG Values[2] = { 11, 22 };
static DEVICE_OBJECT *Device;
static PVOID Opened;
static volatile LONG Enabled, Heard;

static NTSTATUS describe(DEVICE_OBJECT *device, ULONG *flags, UNICODE_STRING *name, UNICODE_STRING **path, UNICODE_STRING *resource, DEVICE_OBJECT **pdo)
{
    *flags = 8;
    return RtlCreateUnicodeString(name, L"Foreign") ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static NTSTATUS query(DEVICE_OBJECT *device, IRP *irp, ULONG block, ULONG instance, ULONG count, ULONG *lengths, ULONG room, UCHAR *buffer)
{
    if (room < 4 || count != 1) return WmiCompleteRequest(device, irp, STATUS_BUFFER_TOO_SMALL, 4, 0);
    *lengths = 4;
    *(ULONG *)buffer = Values[instance];
    return WmiCompleteRequest(device, irp, STATUS_SUCCESS, 4, 0);
}

static NTSTATUS set(DEVICE_OBJECT *device, IRP *irp, ULONG block, ULONG instance, ULONG size, UCHAR *buffer)
{
    if (size == 4) Values[instance] = *(ULONG *)buffer;
    return WmiCompleteRequest(device, irp, size == 4 ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER, 0, 0);
}

static NTSTATUS control(DEVICE_OBJECT *device, IRP *irp, ULONG block, int function, BOOLEAN enable)
{
    if (block == 1 && function == 0) Enabled = enable;
    return WmiCompleteRequest(device, irp, STATUS_SUCCESS, 0, 0);
}

static WMILIB_CONTEXT Library = { 2, Blocks, describe, query, set, NULL, NULL, control };

static NTSTATUS system_control(DEVICE_OBJECT *device, IRP *irp)
{
    int disposition = 3;
    NTSTATUS status = WmiSystemControl(&Library, device, irp, &disposition);
    if (disposition != 0) {
        if (disposition != 1) irp->IoStatus.Status = status = STATUS_INVALID_DEVICE_REQUEST;
        IofCompleteRequest(irp, 0);
    }
    return status;
}

static void hear(PVOID node, PVOID context)
{
    const UCHAR *bytes = node;
    if (context == (PVOID)5 && bytes[*(ULONG *)(bytes + 56)] == 7) Heard++;
}

static BOOLEAN opens(void) { return NT_SUCCESS(IoWMIOpenBlock(&Data, 3, &Opened)); }
static BOOLEAN has_heard(void) { return Heard == 1; }
static BOOLEAN is_enabled(void) { return Enabled == 1; }
static BOOLEAN is_disabled(void) { return Enabled == 0; }

static void check_wmi(void)
{
    static ULONG node[64];
    UNICODE_STRING name;
    PVOID events = NULL;
    ULONG size = sizeof node, value = 33;
    RtlInitUnicodeString(&name, L"Foreign1");
    check(!NT_SUCCESS(IoWMIOpenBlock(&Data, 1, &Opened)), "nobody provides the block yet");
    check(NT_SUCCESS(IoWMIRegistrationControl(Device, 1)) && comes(opens), "a provider is registered");
    check(NT_SUCCESS(IoWMIQuerySingleInstance(Opened, &name, &size, node)) && node[node[14] / 4] == 22 && node[15] == 4, "an instance is read");
    check(NT_SUCCESS(IoWMISetSingleInstance(Opened, &name, 1, 4, &value)) && Values[1] == 33, "an instance is written");
    check(IoWMISetSingleInstance(Opened, &name, 1, 3, &value) == STATUS_INVALID_PARAMETER, "the driver's refusal comes back");
    check(NT_SUCCESS(IoWMIOpenBlock(&Event, 4, &events)) && NT_SUCCESS(IoWMISetNotificationCallback(events, hear, (PVOID)5)) && comes(is_enabled), "events are enabled");
    UCHAR *data = ExAllocatePool2(0x40, 1, TAG);
    *data = 7;
    check(NT_SUCCESS(WmiFireEvent(Device, &Event, 0, 1, data)) && comes(has_heard), "an event is heard");
    ObfDereferenceObject(events);
    check(comes(is_disabled), "nobody wants events any more");
    check(NT_SUCCESS(IoWMIRegistrationControl(Device, 2)) && !NT_SUCCESS(IoWMIQuerySingleInstance(Opened, &name, &size, node)), "a provider that is gone");
    ObfDereferenceObject(Opened);
}

/* A larger stack. */

static ULONG_PTR Low, High;
static void deep(PVOID context)
{
    volatile UCHAR bytes[48 * 1024];
    for (int at = 0; at < sizeof bytes; at += 1024) bytes[at] = (UCHAR)at;
    IoGetStackLimits(&Low, &High);
    *(BOOLEAN *)context = Low <= (ULONG_PTR)bytes && (ULONG_PTR)bytes + sizeof bytes <= High;
}

static void check_stack(void)
{
    BOOLEAN inside = FALSE;
    ULONG_PTR low, high;
    check(NT_SUCCESS(KeExpandKernelStackAndCallout(deep, &inside, 56 * 1024)) && inside, "a call that needs a large stack");
    IoGetStackLimits(&low, &high);
    check(low != Low && low <= (ULONG_PTR)&inside && (ULONG_PTR)&inside < high, "and its own again");
    check(!NT_SUCCESS(KeExpandKernelStackAndCallout(deep, &inside, 1024 * 1024)), "a stack that is too large");
}

/* Resources that another gives back. */

static ERESOURCE Resource;
static KEVENT Ready;
static void give_back(PVOID owner)
{
    ExReleaseResourceForThreadLite(&Resource, (ULONG_PTR)owner);
    KeSetEvent(&Ready, 0, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static void check_resources(void)
{
    HANDLE thread;
    LARGE_INTEGER patience = { .QuadPart = -10 * 10000000ll };
    PVOID owner = (PVOID)((ULONG_PTR)&Resource | 3);
    ExInitializeResourceLite(&Resource);
    KeInitializeEvent(&Ready, 1, FALSE);
    KeEnterCriticalRegion();
    check(ExAcquireResourceExclusiveLite(&Resource, TRUE), "a resource is taken");
    ExSetResourceOwnerPointer(&Resource, owner);
    check(!ExAcquireSharedWaitForExclusive(&Resource, FALSE), "it is not this thread's any more");
    check(NT_SUCCESS(PsCreateSystemThread(&thread, 0x1FFFFF, NULL, NULL, NULL, give_back, owner)), "a thread");
    ZwClose(thread);
    check(KeWaitForSingleObject(&Ready, 0, 0, FALSE, &patience) == STATUS_SUCCESS, "another thread gives it back");
    check(ExAcquireSharedWaitForExclusive(&Resource, FALSE), "it is free");
    ExReleaseResourceLite(&Resource);
    KeLeaveCriticalRegion();
    ExDeleteResourceLite(&Resource);
}

/* Threads by number, and a huge text and names of nonsense, which must end in a status. */

static void check_rest(void)
{
    PVOID found = NULL;
    check(NT_SUCCESS(PsLookupThreadByThreadId(PsGetCurrentThreadId(), &found)) && found == KeGetCurrentThread(), "a thread by its number");
    if (found) ObfDereferenceObject(found);
    check(!NT_SUCCESS(PsLookupThreadByThreadId((HANDLE)0x7FFFFFF0, &found)), "no thread has that number");
    check(NT_SUCCESS(IoRegisterLastChanceShutdownNotification(Device)), "to be told last");
    UCHAR system[64];
    check(NT_SUCCESS(ZwQuerySystemInformation(0, system, sizeof system, NULL)) && system[56] >= 1 && !NT_SUCCESS(ZwQuerySystemInformation(0x7000, system, sizeof system, NULL)), "what the system is like");

    char *text = ExAllocatePool2(0x40, 70000, TAG);
    for (int at = 0; at < 69999; at++) text[at] = 'x';
    DbgPrint("foreign: %s|%99999d|%.*s|%k|%", text, 7, 99999, text);
    ExFreePoolWithTag(text, TAG);
    check(TRUE, "a text that is longer than any line");

    WCHAR *name = ExAllocatePool2(0x40, 0xFFFE, TAG);
    for (int at = 0; at < 0x7FFF; at++) name[at] = at % 600 ? L'k' : L'\\';
    UNICODE_STRING path = { 0xFFFE, 0xFFFE, name }, odd = { 3, 4, name }, none = { 8, 8, NULL };
    UNICODE_STRING *names[] = { &path, &odd, &none };
    BOOLEAN refused = TRUE;
    HANDLE key;
    for (int at = 0; at < 3; at++) {
        OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, names[at], 0x240, NULL, NULL };
        if (NT_SUCCESS(ZwCreateKey(&key, 0xF003F, &attributes, 0, NULL, 0, NULL))) { refused = FALSE; ZwClose(key); }
    }
    ExFreePoolWithTag(name, TAG);
    check(refused, "keys whose names are nonsense");

    UNICODE_STRING mine, value;
    RtlInitUnicodeString(&mine, L"\\Registry\\Machine\\Software\\Foreign");
    RtlInitUnicodeString(&value, L"Value");
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &mine, 0x240, NULL, NULL };
    check(NT_SUCCESS(ZwCreateKey(&key, 0xF003F, &attributes, 0, NULL, 0, NULL)), "a key of its own");
    check(!NT_SUCCESS(ZwSetValueKey(key, &value, 0, 3, &mine, 0x7FFFFFFF)) && !NT_SUCCESS(ZwSetValueKey(key, &odd, 0, 3, &mine, 4)), "values that are nonsense");
    ZwClose(key);
}

/* Who may do what. */

static void check_access(void)
{
    static ULONGLONG room[8];
    SECURITY_DESCRIPTOR descriptor;
    SECURITY_SUBJECT_CONTEXT subject;
    GENERIC_MAPPING mapping = { 1, 2, 4, 0x1F0007 };
    ULONG granted = 0;
    NTSTATUS status = STATUS_SUCCESS;
    RtlCreateSecurityDescriptor(&descriptor, 1);
    SeCaptureSubjectContext(&subject);
    check(SeAccessCheck(&descriptor, &subject, FALSE, 0x80000000, 0, NULL, &mapping, 1, &granted, &status) && granted == 1, "without a list everybody may");
    RtlCreateAcl((ACL *)room, sizeof room, 2);
    RtlSetDaclSecurityDescriptor(&descriptor, TRUE, (ACL *)room, FALSE);
    check(!SeAccessCheck(&descriptor, &subject, FALSE, 1, 0, NULL, &mapping, 1, &granted, &status) && status == STATUS_ACCESS_DENIED, "with an empty one nobody may");
    check(SeAccessCheck(&descriptor, &subject, FALSE, 1, 0, NULL, &mapping, 0, &granted, &status), "but the kernel");
    SeReleaseSubjectContext(&subject);
}

/* How the machine is powered. */

static const GUID Mains = { 0x5D3E9A59, 0xE9D5, 0x4B00, { 0xA6, 0xBD, 0xFF, 0x34, 0xFF, 0x51, 0x65, 0x48 } };
static volatile LONG Told = -1;
static NTSTATUS tell(const GUID *setting, PVOID value, ULONG length, PVOID context)
{
    if (length == 4 && context == (PVOID)6 && setting->Data1 == Mains.Data1) Told = *(LONG *)value;
    return STATUS_SUCCESS;
}
static BOOLEAN is_told(void) { return Told == 0; }

static void check_power(void)
{
    PVOID handle = NULL;
    check(NT_SUCCESS(PoRegisterPowerSettingCallback(Device, &Mains, tell, (PVOID)6, &handle)) && comes(is_told), "a power setting is told");
    check(NT_SUCCESS(PoUnregisterPowerSettingCallback(handle)), "and not any more");
}

/* Controls that are answered without a request: 1 by this routine, others not. */

static BOOLEAN fast(PVOID file, BOOLEAN wait, PVOID input, ULONG input_length, PVOID output, ULONG output_length, ULONG code, IO_STATUS_BLOCK *status, DEVICE_OBJECT *device)
{
    if (code >> 2 != 1 || output_length < 4) return FALSE;
    *(ULONG *)output = 0xFA57;
    status->Status = STATUS_SUCCESS;
    status->Information = 4;
    return TRUE;
}
static FAST_IO_DISPATCH Fast = { .Size = sizeof Fast, .FastIoDeviceControl = fast };

static ULONG Requests;
static NTSTATUS look_from_outside(DEVICE_OBJECT *device, IRP *irp);
static NTSTATUS dispatch(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *location = IoGetCurrentIrpStackLocation(irp);
    if (location->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        if (location->Parameters.DeviceIoControl.IoControlCode == IOCTL_LOOK) return look_from_outside(device, irp);
        Requests++;
    }
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, 0);
    return STATUS_SUCCESS;
}

static void check_fast(void)
{
    UNICODE_STRING name;
    HANDLE file;
    IO_STATUS_BLOCK status;
    ULONG answer = 0;
    RtlInitUnicodeString(&name, L"\\Device\\ForeignServices");
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &name, 0x240, NULL, NULL };
    check(NT_SUCCESS(ZwCreateFile(&file, 0x100000, &attributes, &status, NULL, 0, 3, 1, 0x20, NULL, 0)), "the driver opens its own device");
    check(NT_SUCCESS(ZwDeviceIoControlFile(file, NULL, NULL, NULL, &status, 4, NULL, 0, &answer, 4)) && answer == 0xFA57 && status.Information == 4 && Requests == 0, "an answer without a request");
    check(NT_SUCCESS(ZwDeviceIoControlFile(file, NULL, NULL, NULL, &status, 8, NULL, 0, &answer, 4)) && Requests == 1, "a request where the routine does not answer");
    ZwClose(file);
}

/* Another process's addresses: the program's, seen from a thread of the system. */

static PVOID Program;
static volatile ULONG *Place;
static ULONG Seen;
static BOOLEAN Back;
static void look(PVOID context)
{
    KAPC_STATE state;
    PVOID own = IoGetCurrentProcess();
    KeStackAttachProcess(Program, &state);
    Seen = IoGetCurrentProcess() == Program ? *Place : 0;
    KeUnstackDetachProcess(&state);
    Back = IoGetCurrentProcess() == own && own != Program;
    KeSetEvent(&Ready, 0, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* The program asks: what its buffer holds is read by another thread that looks into its process. */
static NTSTATUS look_from_outside(DEVICE_OBJECT *device, IRP *irp)
{
    HANDLE thread;
    LARGE_INTEGER patience = { .QuadPart = -10 * 10000000ll };
    Program = IoGetCurrentProcess();
    Place = irp->UserBuffer;
    KeInitializeEvent(&Ready, 1, FALSE);
    NTSTATUS status = PsCreateSystemThread(&thread, 0x1FFFFF, NULL, NULL, NULL, look, NULL);
    if (NT_SUCCESS(status)) {
        ZwClose(thread);
        status = KeWaitForSingleObject(&Ready, 0, 0, FALSE, &patience);
        DbgPrint("foreign: another process's memory holds %x, and back again: %u\n", Seen, Back);
    }
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, 0);
    return status;
}

static void unload(DRIVER_OBJECT *driver)
{
    UNICODE_STRING link;
    RtlInitUnicodeString(&link, L"\\??\\ForeignServices");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(Device);
}

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    UNICODE_STRING name, link;
    RtlInitUnicodeString(&name, L"\\Device\\ForeignServices");
    RtlInitUnicodeString(&link, L"\\??\\ForeignServices");
    NTSTATUS status = IoCreateDevice(driver, 0, &name, 0x22, 0, FALSE, &Device);
    if (!NT_SUCCESS(status)) return status;
    IoCreateSymbolicLink(&link, &name);
    for (int at = 0; at <= 0x1B; at++) driver->MajorFunction[at] = dispatch;
    driver->MajorFunction[0x17] = system_control;
    driver->FastIoDispatch = &Fast;
    driver->DriverUnload = unload;
    Device->Flags &= ~0x80;
    check_wmi();
    check_stack();
    check_resources();
    check_rest();
    check_access();
    check_power();
    check_fast();
    DbgPrint("foreign: services of the kernel: %u checks, %u wrong\n", Checks, Failed);
    return STATUS_SUCCESS;
}
