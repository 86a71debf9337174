/* A WDM driver as somebody else would write it: a control device, every transfer method, structured exceptions, a cancel-safe queue,
   timers, DPCs, work items, threads; and, on request, the mistakes that drivers make. */
#include "wdm.h"
#include "protocol.h"

#define TAG 'ngrF'
extern ULONGLONG __security_cookie;
IMPORT PVOID PsThreadType;

static struct {
    DEVICE_OBJECT *Device;
    IO_CSQ Queue;
    KSPIN_LOCK Lock;
    LIST_ENTRY Held;
    ULONG Checks, Failed;
} Driver;

static void check(BOOLEAN good, const char *what)
{
    Driver.Checks++;
    if (!good) {
        Driver.Failed++;
        DbgPrint("foreign: FAILED %s\n", what);
    }
}

/* Structured exceptions. What may fault is in a function of its own, called by its address: the compiler unwinds calls, and only those
   that it cannot prove not to fault. */

static volatile int Sink;
static UCHAR read_a_byte(volatile UCHAR *address) { return *address; }
static void write_a_byte(volatile UCHAR *address, UCHAR value) { *address = value; }
static int divide_numbers(int a, int b) { return a / b; }
static void raise_status(NTSTATUS status) { ExRaiseStatus(status); }
static UCHAR (*volatile read_byte)(volatile UCHAR *) = read_a_byte;
static void (*volatile write_byte)(volatile UCHAR *, UCHAR) = write_a_byte;
static int (*volatile divide)(int, int) = divide_numbers;
static void (*volatile raise)(NTSTATUS) = raise_status;

static NTSTATUS caught(int kind)
{
    NTSTATUS status = STATUS_SUCCESS;
    __try {
        if (kind == 0) read_byte((UCHAR *)0x10000);
        if (kind == 1) Sink = divide(1, kind - 1);
        if (kind == 2) raise((NTSTATUS)0xE0001234);
        if (kind == 3) ProbeForRead((void *)0xFFFFF80000000000ull, 4, 1);
        if (kind == 4) ProbeForRead((void *)0x10001, 4, 4);
        if (kind == 5) DbgBreakPoint();
    } __except (1) {
        status = __exception_code();
    }
    return status;
}

static int Order;
static __declspec(noinline) void inner(void)
{
    __try {
        raise(STATUS_UNSUCCESSFUL);
    } __finally {
        Order = Order * 10 + 1;
    }
}

static int filter(NTSTATUS status) { Order = Order * 10 + 2; return status == STATUS_UNSUCCESSFUL; }

static void check_exceptions(void)
{
    check(caught(0) == STATUS_ACCESS_VIOLATION, "a bad user address is an access violation");
    check(caught(1) == STATUS_INTEGER_DIVIDE_BY_ZERO, "a division by zero is caught");
    check(caught(2) == (NTSTATUS)0xE0001234, "a raised status is caught");
    check(caught(3) == STATUS_ACCESS_VIOLATION, "a kernel address does not pass the probe");
    check(caught(4) == (NTSTATUS)0x80000002, "a misaligned address does not pass the probe");
    check(caught(5) == (NTSTATUS)0x80000003, "a breakpoint without a debugger is an exception like any other");
    __try { inner(); } __except (filter(__exception_code())) { Order = Order * 10 + 3; }
    check(Order == 213, "filter, then termination handler, then handler");
}

static void check_formats(UNICODE_STRING *name)
{
    char text[96];
    int length = _snprintf(text, sizeof text, "%d|%5u|%-4x|%08X|%I64x|%s|%.2s|%c|%p|%wZ|%ws|%%", -7, 42u, 0xabu, 0xBEEFu,
        0x123456789abcdefull, "text", "cut", '!', (void *)0x1234, name, L"wide");
    static const char expected[] = "-7|   42|ab  |0000BEEF|123456789abcdef|text|cu|!|0000000000001234|";
    BOOLEAN same = length > (int)sizeof expected;
    for (int at = 0; at < (int)sizeof expected - 1 && same; at++) same = text[at] == expected[at];
    check(same, "directives of the printf family");
    DbgPrint("foreign: formats %s\n", text);
}

/* Timers, DPCs, work items, threads. */

struct wait { KEVENT Event; KIRQL Irql; int Calls; };

static void deferred(KDPC *dpc, PVOID context, PVOID first, PVOID second)
{
    struct wait *wait = context;
    wait->Irql = KeGetCurrentIrql();
    wait->Calls++;
    KeSetEvent(&wait->Event, 0, FALSE);
}

static void worked(DEVICE_OBJECT *device, PVOID context) { deferred(NULL, context, NULL, NULL); }
static void thread(PVOID context) { deferred(NULL, context, NULL, NULL); PsTerminateSystemThread(STATUS_SUCCESS); }

static BOOLEAN ends(PVOID object)
{
    LARGE_INTEGER patience = { .QuadPart = -10 * 10000000ll };
    return KeWaitForSingleObject(object, 0, 0, FALSE, &patience) == STATUS_SUCCESS;
}

static void check_asynchrony(void)
{
    static KTIMER timer;
    static KDPC dpc, direct;
    static struct wait wait, second;
    LARGE_INTEGER due = { .QuadPart = -50000 };
    HANDLE handle;
    PVOID object, both[2] = { &wait.Event, &second.Event };

    KeInitializeEvent(&wait.Event, 1, FALSE);
    KeInitializeEvent(&second.Event, 1, FALSE);
    KeInitializeTimer(&timer);
    KeInitializeDpc(&dpc, deferred, &wait);
    check(!KeSetTimer(&timer, due, &dpc) && ends(&wait.Event) && wait.Irql == DISPATCH_LEVEL, "a timer's DPC runs at DISPATCH_LEVEL");
    check(ends(&timer), "a timer is signalled");

    KeInitializeDpc(&direct, deferred, &wait);
    /* Raised and lowered without a call, as the real headers do: the DPC must run when CR8 falls. */
    KeSetIrql(DISPATCH_LEVEL);
    wait.Calls = 0;
    KeInsertQueueDpc(&direct, NULL, NULL);
    int before = wait.Calls;
    KeSetIrql(0);
    check(before == 0 && ends(&wait.Event), "a DPC waits until the IRQL falls");

    PVOID item = IoAllocateWorkItem(Driver.Device);
    IoQueueWorkItem(item, worked, 1, &wait);
    check(ends(&wait.Event) && wait.Irql == 0, "a work item runs at PASSIVE_LEVEL");
    IoFreeWorkItem(item);

    check(NT_SUCCESS(PsCreateSystemThread(&handle, 0x1FFFFF, NULL, NULL, NULL, thread, &second)), "a system thread");
    check(NT_SUCCESS(ObReferenceObjectByHandle(handle, 0x1FFFFF, PsThreadType, 0, &object, NULL)), "a thread's handle is the thread's");
    ZwClose(handle);
    check(ends(object), "a thread is signalled when it ends");
    ObfDereferenceObject(object);
    KeSetEvent(&wait.Event, 0, FALSE);
    check(KeWaitForMultipleObjects(2, both, 0, 0, 0, FALSE, NULL, NULL) == STATUS_SUCCESS, "waiting for all of two");
    due.QuadPart = 0;
    check(KeWaitForMultipleObjects(2, both, 1, 0, 0, FALSE, &due, NULL) == STATUS_TIMEOUT, "waiting for any of two, in vain");
}

static void check_rest(void)
{
    UNICODE_STRING name;
    check(__security_cookie != DEFAULT_COOKIE && __security_cookie != 0, "the loader has chosen a security cookie");
    RtlInitUnicodeString(&name, L"ExAllocatePool2");
    check(MmGetSystemRoutineAddress(&name) == (PVOID)ExAllocatePool2, "a routine's address by its name");
    UCHAR *block = ExAllocatePool2(0x40, 100, TAG);
    BOOLEAN clean = block != NULL;
    for (int at = 0; at < 100 && clean; at++) clean = block[at] == 0;
    check(clean, "pool is cleared");
    ExFreePoolWithTag(block, TAG);
}

/* The cancel-safe queue. */

static void insert(IO_CSQ *queue, IRP *irp)
{
    LIST_ENTRY *entry = &irp->Tail.ListEntry, *head = &Driver.Held;
    entry->Flink = head; entry->Blink = head->Blink; head->Blink->Flink = entry; head->Blink = entry;
}
static void take_out(IO_CSQ *queue, IRP *irp)
{
    LIST_ENTRY *entry = &irp->Tail.ListEntry;
    entry->Blink->Flink = entry->Flink; entry->Flink->Blink = entry->Blink;
}
static IRP *peek(IO_CSQ *queue, IRP *after, PVOID context)
{
    LIST_ENTRY *next = after ? after->Tail.ListEntry.Flink : Driver.Held.Flink;
    return next == &Driver.Held ? NULL : CONTAINING_RECORD(next, IRP, Tail.ListEntry);
}
static void acquire(IO_CSQ *queue, KIRQL *irql) { *irql = KeAcquireSpinLockRaiseToDpc(&Driver.Lock); }
static void release(IO_CSQ *queue, KIRQL irql) { KeReleaseSpinLock(&Driver.Lock, irql); }

static NTSTATUS complete(IRP *irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IofCompleteRequest(irp, 0);
    return status;
}
static void cancelled(IO_CSQ *queue, IRP *irp) { complete(irp, STATUS_CANCELLED, 0); }

/* The mistakes. */

static __declspec(noinline) int recurse(int depth)
{
    volatile char frame[512];
    frame[depth & 511] = (char)depth;
    Sink = depth;
    return recurse(depth + 1) + frame[depth & 511];
}
static __declspec(noinline) void smash(volatile char *beyond, int count) { for (int at = 0; at < count; at++) beyond[at] = 'x'; }
static __declspec(noinline) void smash_stack(void) { char small[16]; smash(small, 64); Sink = small[3]; }
static void wrong(KDPC *dpc, PVOID context, PVOID first, PVOID second) { KeSetIrql(0); }
static void endless(KDPC *dpc, PVOID context, PVOID first, PVOID second) { for (;;) Sink++; }
static void raised(DEVICE_OBJECT *device, PVOID context) { KeSetIrql(DISPATCH_LEVEL); }
static void (*volatile nowhere)(void);
static void (*volatile wild)(void) = (void (*)(void))0xDEAD000000000000ull;
static volatile int Zero;

/* Two threads with two locks, each with one of them when it asks for the other. */
static KSPIN_LOCK Both[2];
static volatile LONG Taken;
static void take_other(PVOID own)
{
    int first = own != NULL;
    KeAcquireSpinLockRaiseToDpc(&Both[first]);
    __sync_fetch_and_add(&Taken, 1);
    while (Taken < 2) Sink++;
    KeAcquireSpinLockRaiseToDpc(&Both[!first]);
}
static void deadlock(void)
{
    HANDLE other;
    PsCreateSystemThread(&other, 0x1FFFFF, NULL, NULL, NULL, take_other, (PVOID)1);
    take_other(NULL);
}

static void misbehave(enum misbehaviour how, IRP *irp)
{
    static KDPC dpc;
    static KEVENT event;
    static KSPIN_LOCK lock;
    static KMUTEX mutex;
    static KSEMAPHORE semaphore;
    UCHAR *block = ExAllocatePool2(0x40, 24, TAG);
    switch (how) {
    case OVERRUN: for (int at = 0; at < 32; at++) ((volatile UCHAR *)block)[at] = 0x11; ExFreePoolWithTag(block, TAG); break;
    case FREE_TWICE: ExFreePoolWithTag(block, TAG); ExFreePoolWithTag(block, TAG); break;
    case SPIN: KeSetIrql(DISPATCH_LEVEL); for (;;) Sink++;
    case COMPLETE_TWICE: complete(irp, STATUS_SUCCESS, 0); complete(irp, STATUS_SUCCESS, 0); break;
    case TOUCH_AT_DISPATCH: KeSetIrql(DISPATCH_LEVEL); read_byte((UCHAR *)0xFFFFF6FFDEAD0000ull); break;
    case RECURSE: Sink = recurse(0); break;
    case WRONG_IRQL: KeInitializeDpc(&dpc, wrong, NULL); KeInsertQueueDpc(&dpc, NULL, NULL); for (;;) Sink++;
    case SMASH_STACK: smash_stack(); break;
    case WRITE_CODE: write_byte((UCHAR *)(ULONG_PTR)misbehave, 0xC3); break;
    case RUN_DATA: block[0] = 0xC3; ((void (*)(void))block)(); break;
    case RAISE: raise((NTSTATUS)0xE0005678); break;
    case FREE_PART: ExFreePoolWithTag(block + 16, TAG); break;
    case FREE_BY_OTHER_TAG: ExFreePoolWithTag(block, 'rhtO'); break;
    case UNDERRUN: for (int at = 1; at <= 16; at++) ((volatile UCHAR *)block)[-at] = 0x11; ExFreePoolWithTag(block, TAG); break;
    case RETURN_RAISED: KeSetIrql(DISPATCH_LEVEL); break;
    case KEEP_A_LOCK: KeAcquireSpinLockRaiseToDpc(&lock); break;
    case RELEASE_UNHELD: KeSetIrql(DISPATCH_LEVEL); KeReleaseSpinLock(&lock, 0); break;
    case TAKE_TWICE: KeAcquireSpinLockRaiseToDpc(&lock); KeAcquireSpinLockRaiseToDpc(&lock); break;
    case NULL_AT_DISPATCH: KeSetIrql(DISPATCH_LEVEL); read_byte(NULL); break;
    case CALL_NULL: nowhere(); break;
    case WAIT_AT_DISPATCH: KeInitializeEvent(&event, 0, FALSE); KeSetIrql(DISPATCH_LEVEL); KeWaitForSingleObject(&event, 0, 0, FALSE, NULL); break;
    case WORK_RAISED: IoQueueWorkItem(IoAllocateWorkItem(Driver.Device), raised, 1, NULL); for (;;) Sink++;
    case COMPLETE_PENDING: complete(irp, STATUS_PENDING, 0); break;
    case DEREFERENCE: for (int times = 0; times < 100; times++) ObfDereferenceObject(Driver.Device); break;
    case CRITICAL_REGION: KeEnterCriticalRegion(); break;
    case SPIN_IN_DPC: KeInitializeDpc(&dpc, endless, NULL); KeInsertQueueDpc(&dpc, NULL, NULL); for (;;) Sink++;
    case WILD_JUMP: wild(); break;
    case DEADLOCK: deadlock(); break;
    case FREE_STACK: ExFreePoolWithTag(&how, TAG); break;
    case FAST_FAIL: __asm__ volatile("int $0x29" : : "c"(3)); break;
    case DIVIDE_AT_DISPATCH: KeSetIrql(DISPATCH_LEVEL); Sink = 7 / Zero; break;
    case RELEASE_MUTEX: KeInitializeMutex(&mutex, 0); KeReleaseMutex(&mutex, FALSE); break;
    case RELEASE_SEMAPHORE: KeInitializeSemaphore(&semaphore, 1, 1); KeReleaseSemaphore(&semaphore, 0, 1, FALSE); break;
    case ALLOCATE_HIGH: KeSetIrql(DISPATCH_LEVEL + 1); Sink = ExAllocatePool2(0x40, 16, TAG) != NULL; break;
    case ALLOCATE_PAGED: KeSetIrql(DISPATCH_LEVEL); Sink = ExAllocatePool2(0x100, 16, TAG) != NULL; break;
    case FREE_IN_USE: IoFreeIrp(irp); break;
    }
}

static NTSTATUS control(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *location = IoGetCurrentIrpStackLocation(irp);
    ULONG input = location->Parameters.DeviceIoControl.InputBufferLength, output = location->Parameters.DeviceIoControl.OutputBufferLength;
    UCHAR *buffer = irp->AssociatedIrp.SystemBuffer;
    ULONG_PTR sum = 0;
    IRP *held;

    switch (location->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_CHECK:
        check_exceptions();
        check_asynchrony();
        check_rest();
        ((ULONG *)buffer)[0] = Driver.Checks;
        ((ULONG *)buffer)[1] = Driver.Failed;
        return complete(irp, STATUS_SUCCESS, 8);
    case IOCTL_ADD_ONE:
        for (ULONG at = 0; at < input && at < output; at++) buffer[at]++;
        return complete(irp, STATUS_SUCCESS, input < output ? input : output);
    case IOCTL_SUM_IN:
    case IOCTL_FILL_OUT:
        buffer = irp->MdlAddress ? MmMapLockedPagesSpecifyCache(irp->MdlAddress, 0, 1, NULL, FALSE, 16) : NULL;
        if (buffer == NULL) return complete(irp, STATUS_UNSUCCESSFUL, 0);
        for (ULONG at = 0; at < output; at++) {
            if (location->Parameters.DeviceIoControl.IoControlCode == IOCTL_FILL_OUT) buffer[at] = 0x5a;
            sum += buffer[at];
        }
        return complete(irp, STATUS_SUCCESS, location->Parameters.DeviceIoControl.IoControlCode == IOCTL_FILL_OUT ? output : sum / 4);
    case IOCTL_NEITHER: {
        NTSTATUS status = STATUS_SUCCESS;
        __try {
            ProbeForRead(location->Parameters.DeviceIoControl.Type3InputBuffer, input, 1);
            ProbeForWrite(irp->UserBuffer, output, 1);
            write_byte(irp->UserBuffer, read_byte(location->Parameters.DeviceIoControl.Type3InputBuffer));
        } __except (1) {
            status = __exception_code();
        }
        return complete(irp, status, status ? 0 : 1);
    }
    case IOCTL_HOLD:
        IoCsqInsertIrp(&Driver.Queue, irp, NULL);
        return STATUS_PENDING;
    case IOCTL_RELEASE:
        while ((held = IoCsqRemoveNextIrp(&Driver.Queue, NULL)) != NULL) { complete(held, STATUS_SUCCESS, 0); sum++; }
        return complete(irp, STATUS_SUCCESS, sum);
    case IOCTL_MISBEHAVE:
        misbehave(*(ULONG *)buffer, irp);
        return complete(irp, STATUS_SUCCESS, 0);
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static NTSTATUS succeed(DEVICE_OBJECT *device, IRP *irp) { return complete(irp, STATUS_SUCCESS, 0); }

static void unload(DRIVER_OBJECT *driver)
{
    UNICODE_STRING link;
    RtlInitUnicodeString(&link, L"\\??\\Foreign");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(Driver.Device);
#ifdef BLOCK_UNLOAD
    KEVENT never;
    KeInitializeEvent(&never, 0, FALSE);
    KeWaitForSingleObject(&never, 0, 0, FALSE, NULL);
#endif
#ifdef TIMER_LEFT
    static KTIMER timer;
    static KDPC dpc;
    LARGE_INTEGER due = { .QuadPart = -600 * 10000000ll };
    KeInitializeTimer(&timer);
    KeInitializeDpc(&dpc, deferred, NULL);
    KeSetTimer(&timer, due, &dpc);
#endif
#ifdef LEAK
    Sink = ExAllocatePool2(0x40, 77, TAG) != NULL;
#endif
    DbgPrint("foreign: unloaded\n");
}

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    UNICODE_STRING name, link;
#ifdef GARBAGE
    return (NTSTATUS)0xDEADBEEF;
#endif
#ifdef ORDINAL
    NumberSeven();
#endif
    RtlInitUnicodeString(&name, L"\\Device\\Foreign");
    RtlInitUnicodeString(&link, L"\\??\\Foreign");
    check_formats(&name);
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, path, 0x240, NULL, NULL };
    HANDLE key;
    NTSTATUS status = ZwOpenKey(&key, 0x20019, &attributes);
    check(NT_SUCCESS(status), "the driver's own registry key");
    if (NT_SUCCESS(status)) ZwClose(key);

    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &Driver.Device);
    if (!NT_SUCCESS(status)) return status;
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) { IoDeleteDevice(Driver.Device); return status; }
    KeInitializeSpinLock(&Driver.Lock);
    Driver.Held.Flink = Driver.Held.Blink = &Driver.Held;
    IoCsqInitialize(&Driver.Queue, insert, take_out, peek, acquire, release, cancelled);
    driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    driver->DriverUnload = unload;
    /* The device can be opened although nobody clears DO_DEVICE_INITIALIZING here: the I/O manager does. */
    return STATUS_SUCCESS;
}
