/* A program as somebody else would write it, on ntdll.dll alone: asks the foreign drivers, says how it went in the guest's log. */
#include "wdm.h"
#include "protocol.h"

IMPORT NTSTATUS NtCreateFile(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, LARGE_INTEGER *, ULONG, ULONG, ULONG, ULONG, PVOID, ULONG);
IMPORT NTSTATUS NtDeviceIoControlFile(HANDLE, HANDLE, PVOID, PVOID, IO_STATUS_BLOCK *, ULONG, PVOID, ULONG, PVOID, ULONG);
IMPORT NTSTATUS NtCancelIoFileEx(HANDLE, IO_STATUS_BLOCK *, IO_STATUS_BLOCK *);
IMPORT NTSTATUS NtWaitForSingleObject(HANDLE, BOOLEAN, LARGE_INTEGER *);
IMPORT NTSTATUS NtClose(HANDLE);
IMPORT NTSTATUS NtDisplayString(UNICODE_STRING *);
IMPORT NTSTATUS NtTerminateProcess(HANDLE, NTSTATUS);
IMPORT NTSTATUS NtDelayExecution(BOOLEAN, LARGE_INTEGER *);
IMPORT NTSTATUS NtInitiatePowerAction(int action, int state, ULONG flags, BOOLEAN asynchronous);

#ifdef HOSTILE
/* Every other service of ntlet that comes back and leaves the program alive. */
#define OTHERS \
    X(NtOpenFile) X(NtReadFile) X(NtWriteFile) X(NtCancelIoFile) X(NtCancelSynchronousIoFile) X(NtQueryInformationFile) \
    X(NtSetInformationFile) X(NtCreateIoCompletion) X(NtSetIoCompletion) X(NtRemoveIoCompletion) X(NtCreateEvent) \
    X(NtSetEvent) X(NtResetEvent) X(NtClearEvent) X(NtWaitForMultipleObjects) X(NtCreateTimer) X(NtSetTimer) \
    X(NtCancelTimer) X(NtYieldExecution) X(NtQuerySystemTime) X(NtQueryPerformanceCounter) \
    X(NtTestAlert) X(NtQueueApcThread) X(NtCreateThreadEx) X(NtQueryInformationProcess) \
    X(NtQuerySystemInformation) X(NtAllocateVirtualMemory) X(NtFreeVirtualMemory) X(NtProtectVirtualMemory)
#define X(name) IMPORT NTSTATUS name(void);
OTHERS
#undef X
#endif

static ULONG Checks, Failed;

static void say(const WCHAR *text, ULONG first, ULONG second)
{
    static WCHAR line[128];
    USHORT at = 0;
    for (; *text && at < 100; text++) {
        if (*text != '#') { line[at++] = *text; continue; }
        ULONG value = first; first = second;
        WCHAR digits[10]; int count = 0;
        do { digits[count++] = (WCHAR)('0' + value % 10); value /= 10; } while (value);
        while (count) line[at++] = digits[--count];
    }
    UNICODE_STRING string = { (USHORT)(at * 2), (USHORT)(at * 2), line };
    NtDisplayString(&string);
}

static void check(BOOLEAN good, const WCHAR *what)
{
    Checks++;
    if (!good) { Failed++; say(L"foreign: FAILED", 0, 0); say(what, 0, 0); }
}

static HANDLE open(const WCHAR *path, ULONG options)
{
    UNICODE_STRING name = { 0, 0, (WCHAR *)path };
    while (path[name.Length / 2]) name.Length += 2;
    name.MaximumLength = name.Length;
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &name, 0x40, NULL, NULL };
    IO_STATUS_BLOCK block;
    HANDLE handle;
    return NT_SUCCESS(NtCreateFile(&handle, 0xC0100000, &attributes, &block, NULL, 0, 7, 1, options, NULL, 0)) ? handle : NULL;
}

static NTSTATUS ask(HANDLE file, ULONG code, PVOID in, ULONG in_length, PVOID out, ULONG out_length, ULONG_PTR *information)
{
    IO_STATUS_BLOCK block = { .Information = 0 };
    NTSTATUS status = NtDeviceIoControlFile(file, NULL, NULL, NULL, &block, code, in, in_length, out, out_length);
    *information = block.Information;
    return status;
}

static __attribute__((unused)) void with(const WCHAR *path)
{
    HANDLE file = open(path, 0x20), later = open(path, 0);
    UCHAR in[16] = "0123456789abcde", out[16];
    static UCHAR large[9000];
    ULONG_PTR length;
    ULONG counts[2] = { 0, 0 };
    check(file && later, path);
    if (!file || !later) return;

    check(ask(file, IOCTL_ADD_ONE, in, 16, out, 16, &length) == 0 && length == 16 && out[0] == '1' && out[14] == 'f', L"buffered");
    for (int at = 0; at < 9000; at++) large[at] = 2;
    check(ask(file, IOCTL_SUM_IN, NULL, 0, large, 9000, &length) == 0 && length == 4500, L"direct in");
    check(ask(file, IOCTL_FILL_OUT, NULL, 0, large + 1, 8998, &length) == 0 && large[0] == 2 && large[1] == 0x5a && large[8998] == 0x5a && large[8999] == 2, L"direct out");
    check(ask(file, IOCTL_NEITHER, in, 1, out, 1, &length) == 0 && out[0] == '0', L"neither");
    check(ask(file, IOCTL_NEITHER, (PVOID)0x10000, 1, out, 1, &length) == STATUS_ACCESS_VIOLATION, L"neither, bad input");
    check(ask(file, IOCTL_NEITHER, in, 1, (PVOID)0xFFFF800000000000ull, 1, &length) == STATUS_ACCESS_VIOLATION, L"neither, a kernel address");
    check(ask(file, CTL(99, 0), NULL, 0, NULL, 0, &length) == STATUS_INVALID_DEVICE_REQUEST, L"an unknown code");

    static IO_STATUS_BLOCK first, second, cancel;
    check(NtDeviceIoControlFile(later, NULL, NULL, NULL, &first, IOCTL_HOLD, NULL, 0, NULL, 0) == STATUS_PENDING, L"held");
    check(NtDeviceIoControlFile(later, NULL, NULL, NULL, &second, IOCTL_HOLD, NULL, 0, NULL, 0) == STATUS_PENDING, L"held, too");
    check(NtCancelIoFileEx(later, &first, &cancel) == 0, L"cancelled");
    check(NtWaitForSingleObject(later, FALSE, NULL) == 0 && first.Status == STATUS_CANCELLED, L"the cancelled one ends");
    check(ask(file, IOCTL_RELEASE, NULL, 0, out, 16, &length) == 0 && length == 1, L"the other one is released");
    check(NtWaitForSingleObject(later, FALSE, NULL) == 0 && second.Status == STATUS_SUCCESS, L"the released one ends");

    check(ask(file, IOCTL_CHECK, NULL, 0, counts, 8, &length) == 0 && counts[0] != 0 && counts[1] == 0, L"the driver's own checks");
    Checks += counts[0];
    NtClose(later);
    NtClose(file);
}

#ifdef FRAMEWORK
/* What gets the framework's reserved request, of which there is one: the first. The second waits for it, the third is cancelled meanwhile. */
static void with_scarcity(void)
{
    static IO_STATUS_BLOCK blocks[3], cancel;
    static UCHAR out[16];
    HANDLE file = open(L"\\??\\ForeignFramework", 0x20), later = open(L"\\??\\ForeignFramework", 0);
    ULONG_PTR length;
    for (int at = 0; at < 3; at++)
        check(NtDeviceIoControlFile(later, NULL, NULL, NULL, &blocks[at], IOCTL_SCARCE, NULL, 0, out, 16) == STATUS_PENDING, L"a request without resources");
    check(NtCancelIoFileEx(later, &blocks[2], &cancel) == 0, L"one that waits for a request is cancelled");
    check(NtWaitForSingleObject(later, FALSE, NULL) == 0 && blocks[2].Status == STATUS_CANCELLED, L"and ends");
    check(ask(file, IOCTL_RELEASE, NULL, 0, out, 16, &length) == 0 && length == 2, L"the others are served one after the other");
    for (int at = 0; at < 2; at++)
        check(blocks[at].Status == STATUS_SUCCESS && blocks[at].Information == 1, L"by the reserved request");
    NtClose(later);
    NtClose(file);
}
#endif

#ifdef SERVICES
/* What a thread of the system sees of this program's memory. */
static void with_services(void)
{
    HANDLE file = open(L"\\??\\ForeignServices", 0x20);
    ULONG value = 0xBEEF;
    ULONG_PTR length;
    check(file && ask(file, IOCTL_LOOK, NULL, 0, &value, 4, &length) == 0, L"the services driver");
    if (file) NtClose(file);
}
#endif

#ifdef HOSTILE
typedef NTSTATUS SERVICE(ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG, ULONGLONG);

/* Calls every service with addresses and handles that are none: each must come back with a status. */
static void hostile(void)
{
    static UCHAR scratch[64];
    static SERVICE *services[] = {
        (SERVICE *)NtCreateFile, (SERVICE *)NtDeviceIoControlFile, (SERVICE *)NtCancelIoFileEx, (SERVICE *)NtWaitForSingleObject, (SERVICE *)NtClose,
        (SERVICE *)NtDisplayString,
#define X(name) (SERVICE *)name,
        OTHERS
#undef X
    };
    const ULONGLONG values[] = {
        0, 1, 3, 0x123456, 0xffff, 0x10000, 0x7ffffffefff9, 0x7fffffff0000, 0x7fffffffffff, 0x800000000000, 0xdeadbeefdeadbeef, 0xffff800000000000,
        0xfffff80000000000, 0xffffffff80000000, 0xfffffffffffffff8, (ULONGLONG)scratch, (ULONGLONG)(scratch + 1), (ULONGLONG)hostile,
    };
    const int count = sizeof values / sizeof *values;
    ULONGLONG random = 0x9e3779b97f4a7c15;
    for (int service = 0; service < (int)(sizeof services / sizeof *services); service++) {
        for (int round = 0; round < 400; round++) {
            ULONGLONG a[11];
            for (int at = 0; at < 11; at++) {
                random = random * 6364136223846793005 + 1442695040888963407;
                a[at] = values[(random >> 33) % count];
            }
            random = random * 6364136223846793005 + 1442695040888963407;
            for (int at = 0; at < 8; at++) ((ULONGLONG *)scratch)[at] = values[((random >> 33) + at) % count];
            services[service](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]);
            Checks++;
        }
    }
}
#endif

void start(void)
{
#ifdef SLEEP
    LARGE_INTEGER time = { .QuadPart = -SLEEP * 10000000ll };
    NtDelayExecution(FALSE, &time);
    NtTerminateProcess((HANDLE)-1, 0);
#endif
#ifdef HOSTILE
    hostile();
#endif
#ifdef TO_SLEEP
    NtInitiatePowerAction(2, 4, 0, FALSE);
    say(L"foreign: the system slept", 0, 0);
    NtTerminateProcess((HANDLE)-1, 0);
#endif
#ifdef HOW
    HANDLE file = open(L"\\??\\Foreign", 0x20);
    ULONG how = HOW;
    ULONG_PTR length;
    ask(file, IOCTL_MISBEHAVE, &how, 4, NULL, 0, &length);
    say(L"foreign: the driver got away with it", 0, 0);
#else
    with(L"\\??\\Foreign");
#ifdef FRAMEWORK
    with(L"\\??\\ForeignFramework");
    with_scarcity();
#endif
#ifdef SERVICES
    with_services();
#endif
    say(L"foreign: # checks, # failed", Checks, Failed);
#endif
    NtTerminateProcess((HANDLE)-1, 0);
}
