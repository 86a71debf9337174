/* What sample drivers commonly use of the kernel beyond the rest of this folder, each function by what its page says: locks, queues,
   callbacks, pages, one request at a time, unwinding, conversions, and what drivers without Plug and Play do. All of it in DriverEntry and what is called after it. */
#include "wdm.h"

#define TAG 'kdWf'
typedef struct { USHORT Length, MaximumLength; char *Buffer; } ANSI_STRING;
typedef struct { DISPATCHER_HEADER Header; LIST_ENTRY EntryListHead; ULONG CurrentCount, MaximumCount; LIST_ENTRY ThreadListHead; } KQUEUE;
typedef struct { ULONGLONG Words[2]; } __attribute__((aligned(16))) SLIST_HEADER;
typedef struct { ULONGLONG Words[16]; } ERESOURCE;
typedef struct { ULONG Data1; USHORT Data2, Data3; UCHAR Data4[8]; } GUID;
typedef struct { UCHAR Bytes[0x4d0]; } __attribute__((aligned(16))) CONTEXT;
typedef struct _SINGLE { struct _SINGLE *Next; } SINGLE_LIST_ENTRY;

IMPORT void ExInitializePushLock(ULONG_PTR *);
IMPORT void ExAcquirePushLockExclusiveEx(ULONG_PTR *, ULONG);
IMPORT void ExAcquirePushLockSharedEx(ULONG_PTR *, ULONG);
IMPORT void ExReleasePushLockExclusiveEx(ULONG_PTR *, ULONG);
IMPORT void ExReleasePushLockSharedEx(ULONG_PTR *, ULONG);
IMPORT void KeLeaveCriticalRegion(void);
IMPORT void KeInitializeQueue(KQUEUE *, ULONG);
IMPORT LONG KeInsertQueue(KQUEUE *, LIST_ENTRY *);
IMPORT LONG KeInsertHeadQueue(KQUEUE *, LIST_ENTRY *);
IMPORT LIST_ENTRY *KeRemoveQueue(KQUEUE *, KPROCESSOR_MODE, LARGE_INTEGER *);
IMPORT LIST_ENTRY *KeRundownQueue(KQUEUE *);
IMPORT ULONG_PTR KeIpiGenericCall(ULONG_PTR (*)(ULONG_PTR), ULONG_PTR);
IMPORT ULONG KeQueryActiveProcessorCount(ULONGLONG *);
IMPORT NTSTATUS ExCreateCallback(PVOID *, OBJECT_ATTRIBUTES *, BOOLEAN, BOOLEAN);
IMPORT PVOID ExRegisterCallback(PVOID, void (*)(PVOID, PVOID, PVOID), PVOID);
IMPORT void ExUnregisterCallback(PVOID);
IMPORT void ExNotifyCallback(PVOID, PVOID, PVOID);
IMPORT MDL *MmAllocatePagesForMdlEx(LARGE_INTEGER, LARGE_INTEGER, LARGE_INTEGER, SIZE_T, int, ULONG);
IMPORT void MmFreePagesFromMdl(MDL *);
IMPORT void MmUnmapLockedPages(PVOID, MDL *);
IMPORT void ExFreePool(PVOID);
IMPORT NTSTATUS ExInitializeResourceLite(ERESOURCE *);
IMPORT BOOLEAN ExAcquireResourceExclusiveLite(ERESOURCE *, BOOLEAN);
IMPORT BOOLEAN ExIsResourceAcquiredExclusiveLite(ERESOURCE *);
IMPORT void ExReleaseResourceLite(ERESOURCE *);
IMPORT NTSTATUS ExDeleteResourceLite(ERESOURCE *);
IMPORT ULONG ExInterlockedAddUlong(ULONG *, ULONG, KSPIN_LOCK *);
IMPORT SINGLE_LIST_ENTRY *ExInterlockedPushEntryList(SINGLE_LIST_ENTRY *, SINGLE_LIST_ENTRY *, KSPIN_LOCK *);
IMPORT SINGLE_LIST_ENTRY *ExInterlockedPopEntryList(SINGLE_LIST_ENTRY *, KSPIN_LOCK *);
IMPORT NTSTATUS ExUuidCreate(GUID *);
IMPORT void RtlInitString(ANSI_STRING *, const char *);
IMPORT BOOLEAN RtlEqualString(const ANSI_STRING *, const ANSI_STRING *, BOOLEAN);
IMPORT LONG RtlCompareString(const ANSI_STRING *, const ANSI_STRING *, BOOLEAN);
IMPORT NTSTATUS RtlUTF8ToUnicodeN(WCHAR *, ULONG, ULONG *, const char *, ULONG);
IMPORT NTSTATUS RtlUnicodeToUTF8N(char *, ULONG, ULONG *, const WCHAR *, ULONG);
IMPORT NTSTATUS RtlCharToInteger(const char *, ULONG, ULONG *);
IMPORT NTSTATUS RtlHashUnicodeString(const UNICODE_STRING *, BOOLEAN, ULONG, ULONG *);
IMPORT BOOLEAN RtlTimeToSecondsSince1970(LARGE_INTEGER *, ULONG *);
IMPORT void RtlSecondsSince1970ToTime(ULONG, LARGE_INTEGER *);
IMPORT CCHAR RtlFindMostSignificantBit(ULONGLONG);
IMPORT CCHAR RtlFindLeastSignificantBit(ULONGLONG);
IMPORT BOOLEAN IoIsWdmVersionAvailable(UCHAR, UCHAR);
IMPORT int isdigit(int);
IMPORT char *_strupr(char *);
IMPORT char *strtok_s(char *, const char *, char **);
IMPORT int strcmp(const char *, const char *);
IMPORT void RtlCaptureContext(CONTEXT *) __attribute__((returns_twice));
IMPORT PVOID RtlLookupFunctionEntry(ULONGLONG, ULONGLONG *, PVOID);
IMPORT PVOID RtlVirtualUnwind(ULONG, ULONGLONG, ULONGLONG, PVOID, CONTEXT *, PVOID *, ULONGLONG *, PVOID);
IMPORT void RtlUnwindEx(PVOID, PVOID, PVOID, PVOID, CONTEXT *, PVOID);
IMPORT void IoStartPacket(DEVICE_OBJECT *, IRP *, ULONG *, DRIVER_CANCEL *);
IMPORT void IoStartNextPacket(DEVICE_OBJECT *, BOOLEAN);
IMPORT IRP *IoAllocateIrp(CCHAR, BOOLEAN);
IMPORT NTSTATUS IoInitializeTimer(DEVICE_OBJECT *, void (*)(DEVICE_OBJECT *, PVOID), PVOID);
IMPORT void IoStartTimer(DEVICE_OBJECT *);
IMPORT void IoStopTimer(DEVICE_OBJECT *);
IMPORT void IoRegisterDriverReinitialization(DRIVER_OBJECT *, void (*)(DRIVER_OBJECT *, PVOID, ULONG), PVOID);
IMPORT NTSTATUS IoAttachDevice(DEVICE_OBJECT *, UNICODE_STRING *, DEVICE_OBJECT **);
IMPORT IRP *IoMakeAssociatedIrp(IRP *, CCHAR);
IMPORT ULONG HalGetBusDataByOffset(int, ULONG, ULONG, PVOID, ULONG, ULONG);
IMPORT NTSTATUS WmiSystemControl(PVOID, DEVICE_OBJECT *, IRP *, ULONG *);

static ULONG Checks, Failed;
static void check(BOOLEAN good, const char *what)
{
    Checks++;
    if (!good) { Failed++; DbgPrint("foreign: FAILED %s\n", what); }
}

static BOOLEAN ends(PVOID object)
{
    LARGE_INTEGER patience = { .QuadPart = -10 * 10000000ll };
    return KeWaitForSingleObject(object, 0, 0, FALSE, &patience) == STATUS_SUCCESS;
}

static PVOID run(void (*routine)(PVOID), PVOID context)
{
    HANDLE handle;
    PVOID object = NULL;
    if (!NT_SUCCESS(PsCreateSystemThread(&handle, 0x1FFFFF, NULL, NULL, NULL, routine, context))) return NULL;
    ObReferenceObjectByHandle(handle, 0x1FFFFF, NULL, 0, &object, NULL);
    ZwClose(handle);
    return object;
}

static BOOLEAN join(PVOID thread)
{
    BOOLEAN ended = thread != NULL && ends(thread);
    if (thread) ObfDereferenceObject(thread);
    return ended;
}

/* Push locks: four threads count under one, each a thousand times. */

static ULONG_PTR Lock;
static volatile LONG Count, Readers;
static void count(PVOID context)
{
    for (int time = 0; time < 1000; time++) {
        KeEnterCriticalRegion();
        if (time % 4 == 3) {
            ExAcquirePushLockSharedEx(&Lock, 0);
            __sync_fetch_and_add(&Readers, 1);
            ExReleasePushLockSharedEx(&Lock, 0);
        } else {
            ExAcquirePushLockExclusiveEx(&Lock, 0);
            Count = Count + 1;
            ExReleasePushLockExclusiveEx(&Lock, 0);
        }
        KeLeaveCriticalRegion();
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static void check_push_locks(void)
{
    PVOID threads[4];
    BOOLEAN all = TRUE;
    ExInitializePushLock(&Lock);
    for (int at = 0; at < 4; at++) threads[at] = run(count, NULL);
    for (int at = 0; at < 4; at++) all &= join(threads[at]);
    check(all && Count == 3000 && Readers == 1000 && Lock == 0, "push locks");
}

/* Queues: a thread takes what this one puts in. */

static KQUEUE Queue;
static LIST_ENTRY Entries[3];
static LIST_ENTRY *Taken[3];
static void take(PVOID context)
{
    for (int at = 0; at < 3; at++) Taken[at] = KeRemoveQueue(&Queue, 0, NULL);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static void check_queues(void)
{
    LARGE_INTEGER now = { .QuadPart = 0 };
    KeInitializeQueue(&Queue, 0);
    check(KeRemoveQueue(&Queue, 0, &now) == (LIST_ENTRY *)(ULONG_PTR)STATUS_TIMEOUT, "an empty queue");
    check(KeInsertQueue(&Queue, &Entries[0]) == 0 && KeInsertQueue(&Queue, &Entries[1]) == 1 && KeInsertHeadQueue(&Queue, &Entries[2]) == 2, "inserting into a queue");
    PVOID thread = run(take, NULL);
    check(join(thread) && Taken[0] == &Entries[2] && Taken[1] == &Entries[0] && Taken[2] == &Entries[1], "entries come in order");
    KeInsertQueue(&Queue, &Entries[0]);
    check(KeRundownQueue(&Queue) == &Entries[0] && KeRundownQueue(&Queue) == NULL, "running a queue down");
}

/* A call on every processor. */

static volatile LONG Called, HighEnough;
static ULONG_PTR everywhere(ULONG_PTR argument)
{
    __sync_fetch_and_add(&Called, 1);
    if (KeGetCurrentIrql() > DISPATCH_LEVEL) __sync_fetch_and_add(&HighEnough, 1);
    return argument + 1;
}

/* Callbacks. */

static PVOID Heard[3];
static void hear(PVOID context, PVOID first, PVOID second) { Heard[0] = context; Heard[1] = first; Heard[2] = second; }

static void check_callbacks(void)
{
    UNICODE_STRING name;
    PVOID object;
    RtlInitUnicodeString(&name, L"\\Callback\\Foreign");
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &name, 0x50, NULL, NULL };
    check(NT_SUCCESS(ExCreateCallback(&object, &attributes, TRUE, TRUE)), "a callback object");
    PVOID registration = ExRegisterCallback(object, hear, (PVOID)1);
    ExNotifyCallback(object, (PVOID)2, (PVOID)3);
    check(Heard[0] == (PVOID)1 && Heard[1] == (PVOID)2 && Heard[2] == (PVOID)3, "a callback is called");
    ExUnregisterCallback(registration);
    ExNotifyCallback(object, (PVOID)4, NULL);
    check(Heard[1] == (PVOID)2, "and not after");
    ObfDereferenceObject(object);
}

/* Pages of a list. */

static void check_pages(void)
{
    LARGE_INTEGER zero = { .QuadPart = 0 }, high = { .QuadPart = 0xFFFFFFFFll };
    MDL *list = MmAllocatePagesForMdlEx(zero, high, zero, 3 * 4096, 1, 4);
    UCHAR *mapped = list ? MmMapLockedPagesSpecifyCache(list, 0, 1, NULL, FALSE, 16) : NULL;
    check(mapped != NULL, "pages for a list");
    if (mapped) {
        ULONG sum = 0;
        for (int at = 0; at < 3 * 4096; at++) sum += mapped[at];
        mapped[3 * 4096 - 1] = 1;
        check(sum == 0, "pages are cleared");
        MmUnmapLockedPages(mapped, list);
        MmFreePagesFromMdl(list);
        ExFreePool(list);
    }
}

/* Unwinding: out of two calls, past a termination handler, to where a context was captured. */

static volatile int Steps;
static ULONGLONG Frame, Landing;
static __declspec(noinline) void leave(void) { RtlUnwindEx((PVOID)Frame, (PVOID)Landing, NULL, (PVOID)7, NULL, NULL); Steps += 1000; }
static void (*volatile leave_now)(void) = leave;
static __declspec(noinline) void between(void)
{
    __try { leave_now(); } __finally { Steps += 10; }
    Steps += 1000;
}
static void (*volatile go_between)(void) = between;

static __declspec(noinline) void check_unwinding(void)
{
    static CONTEXT here;
    static volatile int times;
    ULONGLONG base;
    PVOID data;
    RtlCaptureContext(&here);
    if (times++ == 0) {
        Landing = *(ULONGLONG *)(here.Bytes + 0xF8);
        PVOID entry = RtlLookupFunctionEntry(Landing, &base, NULL);
        RtlVirtualUnwind(0, base, Landing, entry, &here, &data, &Frame, NULL);
        go_between();
        Steps += 1000;
    }
    check(times == 2 && Steps == 10, "RtlUnwindEx calls termination handlers and lands");
}

/* One request at a time. */

static IRP *Started[2];
static int StartedCount;
static void start_io(DEVICE_OBJECT *device, IRP *irp) { Started[StartedCount++ & 1] = irp; }
static KEVENT Ticked;
static void tick(DEVICE_OBJECT *device, PVOID context) { KeSetEvent(&Ticked, 0, FALSE); }

static void check_device(DRIVER_OBJECT *driver)
{
    DEVICE_OBJECT *device;
    ULONG disposition = 77;
    check(NT_SUCCESS(IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device)), "a device");
    driver->DriverStartIo = start_io;
    IRP *first = IoAllocateIrp(2, FALSE), *second = IoAllocateIrp(2, FALSE);
    IoStartPacket(device, first, NULL, NULL);
    IoStartPacket(device, second, NULL, NULL);
    check(StartedCount == 1 && Started[0] == first && device->CurrentIrp == first, "a busy device starts nothing else");
    KeSetIrql(DISPATCH_LEVEL);
    IoStartNextPacket(device, FALSE);
    BOOLEAN is_next = StartedCount == 2 && Started[1] == second;
    IoStartNextPacket(device, FALSE);
    KeSetIrql(0);
    check(is_next && StartedCount == 2 && device->CurrentIrp == NULL, "the next request, and none");
    KeInitializeEvent(&Ticked, 1, FALSE);
    check(NT_SUCCESS(IoInitializeTimer(device, tick, NULL)), "a device's timer");
    IoStartTimer(device);
    check(ends(&Ticked), "it comes");
    IoStopTimer(device);
    first->Tail.CurrentStackLocation = (IO_STACK_LOCATION *)(first + 1);
    first->Tail.CurrentStackLocation->MinorFunction = 0xFF;
    WmiSystemControl(NULL, device, first, &disposition);
    check(disposition == 2, "what is no WMI request");
    IoFreeIrp(first);
    IoFreeIrp(second);
    IoDeleteDevice(device);
}

static void check_runtime(void)
{
    ANSI_STRING one, other;
    UNICODE_STRING name;
    WCHAR wide[8];
    char bytes[8], text[] = "a, bc", *rest;
    ULONG length, number, hash;
    LARGE_INTEGER time;
    GUID guid = { 0 }, second = { 0 };
    KSPIN_LOCK lock = 0;
    ULONG sum = 5;
    SINGLE_LIST_ENTRY head = { NULL }, entry;

    RtlInitString(&one, "Text");
    RtlInitString(&other, "tEXT");
    check(RtlEqualString(&one, &other, TRUE) && !RtlEqualString(&one, &other, FALSE) && RtlCompareString(&one, &other, FALSE) < 0, "strings of bytes");
    check(RtlUTF8ToUnicodeN(wide, sizeof wide, &length, "\xC3\xA4x", 3) == 0 && length == 4 && wide[0] == 0xE4 && wide[1] == 'x', "UTF-8 to UTF-16");
    check(RtlUnicodeToUTF8N(bytes, sizeof bytes, &length, wide, 4) == 0 && length == 3 && bytes[0] == (char)0xC3 && bytes[2] == 'x', "UTF-16 to UTF-8");
    check(RtlUTF8ToUnicodeN(wide, sizeof wide, &length, "\xFF", 1) == 0x107, "what is no UTF-8");
    check(NT_SUCCESS(RtlCharToInteger(" -0x1f", 0, &number)) && number == (ULONG)-31, "a number in text");
    RtlInitUnicodeString(&name, L"ab");
    check(NT_SUCCESS(RtlHashUnicodeString(&name, TRUE, 0, &hash)) && hash == 'A' * 65599u + 'B', "a string's hash");
    RtlSecondsSince1970ToTime(1000000000, &time);
    check(time.QuadPart == 126444736000000000ll && RtlTimeToSecondsSince1970(&time, &number) && number == 1000000000, "seconds since 1970");
    check(RtlFindMostSignificantBit(0x8000000000ull) == 39 && RtlFindLeastSignificantBit(0x60) == 5 && RtlFindMostSignificantBit(0) == -1, "bits");
    check(IoIsWdmVersionAvailable(1, 0x30) && !IoIsWdmVersionAvailable(7, 0), "the version of WDM");
    check(NT_SUCCESS(ExUuidCreate(&guid)) && NT_SUCCESS(ExUuidCreate(&second)) && guid.Data3 >> 12 == 4 && (guid.Data1 != second.Data1 || guid.Data2 != second.Data2), "GUIDs");
    check(ExInterlockedAddUlong(&sum, 3, &lock) == 5 && sum == 8, "adding under a lock");
    check(ExInterlockedPushEntryList(&head, &entry, &lock) == NULL && ExInterlockedPopEntryList(&head, &lock) == &entry && head.Next == NULL, "a list under a lock");
    check(isdigit('7') && !isdigit('x') && strcmp(_strupr(bytes + 2), "X") != 1, "letters");
    check(strcmp(strtok_s(text, ", ", &rest), "a") == 0 && strcmp(strtok_s(NULL, ", ", &rest), "bc") == 0 && strtok_s(NULL, ", ", &rest) == NULL, "tokens");
}

static void check_resource(void)
{
    static ERESOURCE resource;
    KeEnterCriticalRegion();
    ExInitializeResourceLite(&resource);
    check(ExAcquireResourceExclusiveLite(&resource, TRUE) && ExAcquireResourceExclusiveLite(&resource, TRUE) && ExIsResourceAcquiredExclusiveLite(&resource), "a resource");
    ExReleaseResourceLite(&resource);
    ExReleaseResourceLite(&resource);
    check(!ExIsResourceAcquiredExclusiveLite(&resource), "a resource that is free");
    ExDeleteResourceLite(&resource);
    KeLeaveCriticalRegion();
}

/* A driver without Plug and Play: a device with a name, another on top of it by that name; parts of a request. */

static DEVICE_OBJECT *Named;
static NTSTATUS succeed(DEVICE_OBJECT *device, IRP *irp)
{
    irp->IoStatus.Status = STATUS_SUCCESS;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, 0);
    return STATUS_SUCCESS;
}

static void check_legacy(DRIVER_OBJECT *driver)
{
    UNICODE_STRING name;
    DEVICE_OBJECT *upper, *below = NULL;
    RtlInitUnicodeString(&name, L"\\Device\\ForeignNamed");
    check(NT_SUCCESS(IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &upper)), "a device without a name");
    check(NT_SUCCESS(IoAttachDevice(upper, &name, &below)) && below == Named && upper->StackSize == 2, "attaching by name");
    if (below) IoDetachDevice(below);
    IoDeleteDevice(upper);
    IoDeleteDevice(Named);
    USHORT vendor = 0, nobody = 0;
    check(HalGetBusDataByOffset(4, 0, 0, &vendor, 0, 2) == 2 && vendor == 0x8086, "the host bridge's configuration space");
    check(HalGetBusDataByOffset(4, 0, 29, &nobody, 0, 2) == 2 && nobody == 0xFFFF && HalGetBusDataByOffset(4, 256, 0, &nobody, 0, 2) == 0, "an empty slot, and no bus");
    IRP *master = IoAllocateIrp(1, FALSE), *part = IoMakeAssociatedIrp(master, 1);
    check(part->AssociatedIrp.MasterIrp == master && part->Flags == 8, "a part of a request");
    IoFreeIrp(part);
    IoFreeIrp(master);
}

/* Called after DriverEntry, twice: the first call registers the second. */
static void once_more(DRIVER_OBJECT *driver, PVOID context, ULONG count)
{
    check(context == &Checks, "the context of a reinitialization");
    if (count == 1) { IoRegisterDriverReinitialization(driver, once_more, context); return; }
    check_legacy(driver);
    DbgPrint("foreign: what samples use: %u checks, %u wrong\n", Checks, Failed);
}

static void unload(DRIVER_OBJECT *driver) { }

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    check_push_locks();
    check_queues();
    check(KeIpiGenericCall(everywhere, 41) == 42 && Called == (LONG)KeQueryActiveProcessorCount(NULL) && HighEnough == Called, "a call on every processor");
    check_callbacks();
    check_pages();
    check_unwinding();
    check_device(driver);
    check_runtime();
    check_resource();
    UNICODE_STRING name;
    RtlInitUnicodeString(&name, L"\\Device\\ForeignNamed");
    check(NT_SUCCESS(IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &Named)), "a device with a name");
    driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
    driver->DriverUnload = unload;
    IoRegisterDriverReinitialization(driver, once_more, &Checks);
    return STATUS_SUCCESS;
}
