/* What drivers use of the kernel beyond the rest of this folder, each function by what its page says: ordered tables, notifications, security
   descriptors, share access, files that a driver opens. All of it in DriverEntry, but for what is told of the program later. */
#include "wdm.h"
#include "protocol.h"

#define TAG 'roMf'
typedef struct _RTL_SPLAY_LINKS { struct _RTL_SPLAY_LINKS *Parent, *LeftChild, *RightChild; } RTL_SPLAY_LINKS;
typedef struct { RTL_SPLAY_LINKS *TableRoot; LIST_ENTRY InsertOrderList, *OrderedPointer; ULONG WhichOrderedElement, NumberGenericTableElements; PVOID Compare, Allocate, Free, TableContext; } RTL_GENERIC_TABLE;
typedef struct { PVOID Root[4], OrderedPointer; ULONG WhichOrderedElement, NumberGenericTableElements, DepthOfTree; PVOID RestartKey; ULONG DeleteCount; PVOID Compare, Allocate, Free, TableContext; } RTL_AVL_TABLE;
_Static_assert(sizeof(RTL_GENERIC_TABLE) == 72 && sizeof(RTL_AVL_TABLE) == 104, "layout");
typedef struct { ULONGLONG Words[5]; } SECURITY_DESCRIPTOR;
typedef struct { UCHAR AclRevision, Sbz1; USHORT AclSize, AceCount, Sbz2; } ACL;
typedef struct { ULONG OpenCount, Readers, Writers, Deleters, SharedRead, SharedWrite, SharedDelete; } SHARE_ACCESS;
typedef struct { SIZE_T Size; ULONG Flags; HANDLE ParentProcessId, CreatingThreadId[2]; PVOID FileObject; const UNICODE_STRING *ImageFileName, *CommandLine; NTSTATUS CreationStatus; } PS_CREATE_NOTIFY_INFO;
typedef struct { ULONGLONG Mask; USHORT Group, Reserved[3]; } GROUP_AFFINITY;
typedef struct { ULONG Properties; PVOID ImageBase; ULONG ImageSelector; SIZE_T ImageSize; ULONG ImageSectionNumber; } IMAGE_INFO;

typedef int COMPARE(PVOID, PVOID, PVOID);
typedef PVOID ALLOCATE(PVOID, ULONG);
typedef void FREE(PVOID, PVOID);
IMPORT void RtlInitializeGenericTable(RTL_GENERIC_TABLE *, COMPARE *, ALLOCATE *, FREE *, PVOID);
IMPORT PVOID RtlInsertElementGenericTable(RTL_GENERIC_TABLE *, PVOID, ULONG, BOOLEAN *);
IMPORT BOOLEAN RtlDeleteElementGenericTable(RTL_GENERIC_TABLE *, PVOID);
IMPORT PVOID RtlLookupElementGenericTable(RTL_GENERIC_TABLE *, PVOID);
IMPORT PVOID RtlEnumerateGenericTable(RTL_GENERIC_TABLE *, BOOLEAN);
IMPORT BOOLEAN RtlIsGenericTableEmpty(RTL_GENERIC_TABLE *);
IMPORT void RtlInitializeGenericTableAvl(RTL_AVL_TABLE *, COMPARE *, ALLOCATE *, FREE *, PVOID);
IMPORT PVOID RtlInsertElementGenericTableAvl(RTL_AVL_TABLE *, PVOID, ULONG, BOOLEAN *);
IMPORT BOOLEAN RtlDeleteElementGenericTableAvl(RTL_AVL_TABLE *, PVOID);
IMPORT PVOID RtlLookupElementGenericTableAvl(RTL_AVL_TABLE *, PVOID);
IMPORT PVOID RtlGetElementGenericTableAvl(RTL_AVL_TABLE *, ULONG);
IMPORT PVOID RtlEnumerateGenericTableAvl(RTL_AVL_TABLE *, BOOLEAN);
IMPORT ULONG RtlNumberGenericTableElementsAvl(RTL_AVL_TABLE *);
IMPORT NTSTATUS PsSetCreateProcessNotifyRoutineEx(void (*)(PVOID, HANDLE, PS_CREATE_NOTIFY_INFO *), BOOLEAN);
IMPORT NTSTATUS PsSetCreateThreadNotifyRoutine(void (*)(HANDLE, HANDLE, BOOLEAN));
IMPORT NTSTATUS PsRemoveCreateThreadNotifyRoutine(void (*)(HANDLE, HANDLE, BOOLEAN));
IMPORT NTSTATUS PsSetLoadImageNotifyRoutine(void (*)(UNICODE_STRING *, HANDLE, IMAGE_INFO *));
IMPORT NTSTATUS PsRemoveLoadImageNotifyRoutine(void (*)(UNICODE_STRING *, HANDLE, IMAGE_INFO *));
IMPORT NTSTATUS PsLookupProcessByProcessId(HANDLE, PVOID *);
IMPORT HANDLE PsGetProcessId(PVOID);
IMPORT NTSTATUS RtlCreateSecurityDescriptor(SECURITY_DESCRIPTOR *, ULONG);
IMPORT NTSTATUS RtlSetDaclSecurityDescriptor(SECURITY_DESCRIPTOR *, BOOLEAN, ACL *, BOOLEAN);
IMPORT NTSTATUS RtlGetDaclSecurityDescriptor(PVOID, BOOLEAN *, ACL **, BOOLEAN *);
IMPORT ULONG RtlLengthSid(PVOID);
IMPORT NTSTATUS RtlCreateAcl(ACL *, ULONG, ULONG);
IMPORT NTSTATUS RtlAddAccessAllowedAce(ACL *, ULONG, ULONG, PVOID);
IMPORT NTSTATUS ObOpenObjectByPointer(PVOID, ULONG, PVOID, ULONG, PVOID, KPROCESSOR_MODE, HANDLE *);
IMPORT NTSTATUS ZwSetSecurityObject(HANDLE, ULONG, PVOID);
IMPORT NTSTATUS ZwQuerySecurityObject(HANDLE, ULONG, PVOID, ULONG, ULONG *);
IMPORT NTSTATUS IoCheckShareAccess(ULONG, ULONG, PVOID, SHARE_ACCESS *, BOOLEAN);
IMPORT NTSTATUS ZwCreateFile(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, IO_STATUS_BLOCK *, LARGE_INTEGER *, ULONG, ULONG, ULONG, ULONG, PVOID, ULONG);
IMPORT NTSTATUS ZwDeviceIoControlFile(HANDLE, HANDLE, PVOID, PVOID, IO_STATUS_BLOCK *, ULONG, PVOID, ULONG, PVOID, ULONG);
IMPORT NTSTATUS ZwQueryInformationFile(HANDLE, IO_STATUS_BLOCK *, PVOID, ULONG, int);
IMPORT NTSTATUS ZwSetInformationFile(HANDLE, IO_STATUS_BLOCK *, PVOID, ULONG, int);
IMPORT NTSTATUS ZwFlushBuffersFile(HANDLE, IO_STATUS_BLOCK *);
IMPORT ULONG *IoGetConfigurationInformation(void);
IMPORT NTSTATUS RtlDuplicateUnicodeString(ULONG, const UNICODE_STRING *, UNICODE_STRING *);
IMPORT BOOLEAN RtlCreateUnicodeString(UNICODE_STRING *, const WCHAR *);
IMPORT void RtlFreeUnicodeString(UNICODE_STRING *);
IMPORT NTSTATUS ZwCreateEvent(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, int, BOOLEAN);
IMPORT NTSTATUS ZwSetEvent(HANDLE, LONG *);
IMPORT NTSTATUS ZwResetEvent(HANDLE, LONG *);
IMPORT NTSTATUS ZwOpenSymbolicLinkObject(HANDLE *, ULONG, OBJECT_ATTRIBUTES *);
IMPORT NTSTATUS ZwQuerySymbolicLinkObject(HANDLE, UNICODE_STRING *, ULONG *);
IMPORT void KeSetSystemGroupAffinityThread(GROUP_AFFINITY *, GROUP_AFFINITY *);
IMPORT void KeRevertToUserGroupAffinityThread(GROUP_AFFINITY *);
IMPORT PVOID IoGetInitialStack(void);
IMPORT ULONG IoWithinStackLimits(ULONG_PTR, SIZE_T);

static ULONG Checks, Failed;
static void check(BOOLEAN good, const char *what)
{
    Checks++;
    if (!good) { Failed++; DbgPrint("foreign: FAILED %s\n", what); }
}

/* Tables of numbers. */

static int compare(PVOID table, PVOID first, PVOID second)
{
    ULONG one = *(ULONG *)first, other = *(ULONG *)second;
    return one < other ? 0 : one > other ? 1 : 2;
}
static PVOID allocate(PVOID table, ULONG size) { return ExAllocatePool2(0x40, size, TAG); }
static void release(PVOID table, PVOID block) { ExFreePoolWithTag(block, TAG); }

static void check_tables(void)
{
    static RTL_GENERIC_TABLE old;
    static RTL_AVL_TABLE avl;
    BOOLEAN is_new, all_new = TRUE, in_order = TRUE;
    ULONG number = 0, count = 0;
    RtlInitializeGenericTable(&old, compare, allocate, release, NULL);
    RtlInitializeGenericTableAvl(&avl, compare, allocate, release, NULL);
    check(RtlIsGenericTableEmpty(&old), "an empty table");
    for (int at = 0; at < 1000; at++) {
        number = (number + 389) % 1000;
        RtlInsertElementGenericTable(&old, &number, sizeof number, &is_new);
        all_new &= is_new;
        RtlInsertElementGenericTableAvl(&avl, &number, sizeof number, &is_new);
        all_new &= is_new;
    }
    RtlInsertElementGenericTableAvl(&avl, &number, sizeof number, &is_new);
    check(all_new && !is_new && RtlNumberGenericTableElementsAvl(&avl) == 1000 && avl.DepthOfTree <= 14, "inserting into tables");
    for (ULONG *at = RtlEnumerateGenericTable(&old, TRUE); at; at = RtlEnumerateGenericTable(&old, FALSE)) in_order &= *at == count++;
    check(in_order && count == 1000, "a table's order");
    count = 0;
    for (ULONG *at = RtlEnumerateGenericTableAvl(&avl, TRUE); at; at = RtlEnumerateGenericTableAvl(&avl, FALSE)) in_order &= *at == count++;
    check(in_order && count == 1000, "the other table's order");
    check(*(ULONG *)RtlGetElementGenericTableAvl(&avl, 500) == 500 && !RtlGetElementGenericTableAvl(&avl, 1000), "elements by number");
    for (number = 0; number < 1000; number += 2) {
        RtlDeleteElementGenericTable(&old, &number);
        RtlDeleteElementGenericTableAvl(&avl, &number);
    }
    number = 500;
    check(!RtlLookupElementGenericTable(&old, &number) && !RtlLookupElementGenericTableAvl(&avl, &number), "what was deleted");
    number = 501;
    check(*(ULONG *)RtlLookupElementGenericTable(&old, &number) == 501 && *(ULONG *)RtlLookupElementGenericTableAvl(&avl, &number) == 501, "what was not");
    for (number = 1; number < 1000; number += 2) {
        RtlDeleteElementGenericTable(&old, &number);
        RtlDeleteElementGenericTableAvl(&avl, &number);
    }
    check(RtlIsGenericTableEmpty(&old) && RtlNumberGenericTableElementsAvl(&avl) == 0, "tables are empty again");
}

/* A device that only the system and administrators may open, as the libraries for that do it. */

static void check_security(DRIVER_OBJECT *driver)
{
    static ULONGLONG room[16], copy[32];
    UCHAR system[12] = { 1, 1, 0, 0, 0, 0, 0, 5, 18 };
    SECURITY_DESCRIPTOR descriptor;
    DEVICE_OBJECT *device;
    HANDLE handle = NULL;
    ACL *list = (ACL *)room, *found = NULL;
    BOOLEAN present = FALSE, defaulted;
    ULONG needed = 0;
    NTSTATUS status = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
    if (!NT_SUCCESS(status)) { check(FALSE, "a device for a descriptor"); return; }
    check(NT_SUCCESS(RtlCreateAcl(list, sizeof room, 2)) && NT_SUCCESS(RtlAddAccessAllowedAce(list, 2, 0x1F01FF, system)) && list->AceCount == 1 && RtlLengthSid(system) == 12, "an access control list");
    check(NT_SUCCESS(RtlCreateSecurityDescriptor(&descriptor, 1)) && NT_SUCCESS(RtlSetDaclSecurityDescriptor(&descriptor, TRUE, list, FALSE)), "a descriptor");
    check(NT_SUCCESS(ObOpenObjectByPointer(device, 0x200, NULL, 0x60000, NULL, 0, &handle)), "a handle for a device");
    check(ZwQuerySecurityObject(handle, 4, copy, sizeof copy, &needed) == (NTSTATUS)0xC00000D7, "nothing set yet");
    check(NT_SUCCESS(ZwSetSecurityObject(handle, 4, &descriptor)), "setting a descriptor");
    check(ZwQuerySecurityObject(handle, 4, copy, 8, &needed) == (NTSTATUS)0xC0000023 && needed == 20 + sizeof room, "how long it is");
    check(NT_SUCCESS(ZwQuerySecurityObject(handle, 4, copy, sizeof copy, &needed)), "reading it");
    check(NT_SUCCESS(RtlGetDaclSecurityDescriptor(copy, &present, &found, &defaulted)) && present && found->AceCount == 1, "it is the same");
    ZwClose(handle);
    IoDeleteDevice(device);
}

/* Files. */

static void check_files(void)
{
    static UCHAR file_object[216]; /* as large as a FILE_OBJECT, and zero */
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &name, 0x240, NULL, NULL };
    IO_STATUS_BLOCK block = { .Information = 0 };
    LONGLONG position = 7, given = 42;
    UCHAR in[4] = "abc", out[4] = "";
    HANDLE file = NULL;
    SHARE_ACCESS shares = { 0 };
    RtlInitUnicodeString(&name, L"\\??\\Foreign");
    NTSTATUS status = ZwCreateFile(&file, 0xC0100000, &attributes, &block, NULL, 0, 7, 1, 0x20, NULL, 0);
    check(NT_SUCCESS(status), "a driver opens a device");
    if (NT_SUCCESS(status)) {
        check(ZwDeviceIoControlFile(file, NULL, NULL, NULL, &block, IOCTL_ADD_ONE, in, 3, out, 3) == 0 && out[0] == 'b' && block.Information == 3, "and asks it");
        check(ZwQueryInformationFile(file, &block, &position, 8, 14) == 0 && position == 0, "a file's position");
        check(ZwSetInformationFile(file, &block, &given, 8, 14) == 0 && ZwQueryInformationFile(file, &block, &position, 8, 14) == 0 && position == 42, "is what was set");
        check(ZwQueryInformationFile(file, &block, &position, 4, 14) == (NTSTATUS)0xC0000004, "not in too short a buffer");
        check(ZwQueryInformationFile(file, &block, &position, 8, 5) == STATUS_INVALID_DEVICE_REQUEST, "what only the driver could know");
        check(ZwFlushBuffersFile(file, &block) == STATUS_INVALID_DEVICE_REQUEST, "nor does it flush");
        ZwClose(file);
    }
    RtlInitUnicodeString(&name, L"\\SystemRoot\\foreign.log");
    check(ZwCreateFile(&file, 0x40100000, &attributes, &block, NULL, 0x80, 1, 3, 0x20, NULL, 0) == (NTSTATUS)0xC000003A, "there are no disks");
    check(IoCheckShareAccess(1, 1, file_object, &shares, TRUE) == 0 && shares.OpenCount == 1, "an open is counted");
    check(IoCheckShareAccess(2, 7, file_object, &shares, TRUE) == (NTSTATUS)0xC0000043, "one that is not shared");
    check(IoGetConfigurationInformation()[8] == 40, "counts of devices");
    check(IoWithinStackLimits((ULONG_PTR)&name, sizeof name) && !IoWithinStackLimits((ULONG_PTR)file_object, 8) && (ULONG_PTR)IoGetInitialStack() > (ULONG_PTR)&name, "the stack");
}

/* Copies of strings, events and links by handle, processors by group. */

static void check_rest(void)
{
    static WCHAR room[32];
    UNICODE_STRING from, copy, target = { 0, 10, room };
    OBJECT_ATTRIBUTES attributes = { sizeof attributes, NULL, &from, 0x240, NULL, NULL };
    GROUP_AFFINITY first = { 1, 0 }, before = { 7, 7 };
    HANDLE handle;
    LONG state = 7;
    ULONG length = 0;
    RtlInitUnicodeString(&from, L"copy me");
    check(RtlDuplicateUnicodeString(1, &from, &copy) == 0 && copy.Length == 14 && copy.MaximumLength == 16 && copy.Buffer != from.Buffer && copy.Buffer[6] == 'e' && copy.Buffer[7] == 0, "a copy of a string");
    RtlFreeUnicodeString(&copy);
    check(RtlCreateUnicodeString(&copy, L"made") && copy.Length == 8 && copy.Buffer[3] == 'e', "a string that is made");
    RtlFreeUnicodeString(&copy);
    check(NT_SUCCESS(ZwCreateEvent(&handle, 0x1F0003, NULL, 0, FALSE)), "an event by handle");
    check(ZwSetEvent(handle, &state) == 0 && state == 0 && ZwResetEvent(handle, &state) == 0 && state == 1, "is set and reset");
    ZwClose(handle);
    RtlInitUnicodeString(&from, L"\\??\\Foreign");
    check(NT_SUCCESS(ZwOpenSymbolicLinkObject(&handle, 1, &attributes)), "a link by handle");
    check(ZwQuerySymbolicLinkObject(handle, &target, &length) == (NTSTATUS)0xC0000023 && length == 30, "how long its target is");
    target.MaximumLength = sizeof room;
    check(ZwQuerySymbolicLinkObject(handle, &target, NULL) == 0 && target.Length == 30 && target.Buffer[14] == 'n', "its target");
    ZwClose(handle);
    KeSetSystemGroupAffinityThread(&first, &before);
    check(before.Mask == 0 && before.Group == 0, "a thread on one processor");
    KeRevertToUserGroupAffinityThread(&before);
}

/* What is told of the program: its process, its thread, its image, and their ends; and of a driver that is loaded later. */

static HANDLE Program;
static volatile LONG Told;
enum { BEGINS = 1, ENDS = 2, THREAD_BEGINS = 4, THREAD_ENDS = 8, IMAGE = 16, DRIVER = 32 };

static void of_process(PVOID process, HANDLE id, PS_CREATE_NOTIFY_INFO *info)
{
    if (!info) { if (id == Program) __sync_fetch_and_or(&Told, ENDS); return; }
    if (info->Size != sizeof *info || info->ImageFileName->Length != 22 || PsGetProcessId(process) != id) return;
    Program = id;
    __sync_fetch_and_or(&Told, BEGINS);
}
static void of_thread(HANDLE process, HANDLE thread, BOOLEAN created) { if (Program && process == Program) __sync_fetch_and_or(&Told, created ? THREAD_BEGINS : THREAD_ENDS); }
static void of_image(UNICODE_STRING *name, HANDLE process, IMAGE_INFO *info)
{
    BOOLEAN is_systems = info->Properties >> 8 & 1;
    if (Program && process == Program && info->ImageSize && name->Length == 22 && !is_systems) __sync_fetch_and_or(&Told, IMAGE);
    if (!process && name->Length == 28 && name->Buffer[7] == 'w' && is_systems) __sync_fetch_and_or(&Told, DRIVER);
}

static void check_notifications(void)
{
    PVOID process;
    check(PsSetCreateProcessNotifyRoutineEx(of_process, FALSE) == 0 && PsSetCreateProcessNotifyRoutineEx(of_process, FALSE) != 0, "once for processes");
    check(PsSetCreateThreadNotifyRoutine(of_thread) == 0 && PsSetLoadImageNotifyRoutine(of_image) == 0, "for threads and images");
    check(PsRemoveLoadImageNotifyRoutine((PVOID)check) == (NTSTATUS)0xC000007A, "what was never registered");
    check(NT_SUCCESS(PsLookupProcessByProcessId((HANDLE)4, &process)) && PsGetProcessId(process) == (HANDLE)4, "the system's process");
    ObfDereferenceObject(process);
    check(PsLookupProcessByProcessId((HANDLE)0x7FFFFFF0, &process) == (NTSTATUS)0xC000000B, "no process");
}

static void unload(DRIVER_OBJECT *driver)
{
    NTSTATUS removed = PsSetCreateProcessNotifyRoutineEx(of_process, TRUE) | PsRemoveCreateThreadNotifyRoutine(of_thread) | PsRemoveLoadImageNotifyRoutine(of_image);
    DbgPrint("foreign: told of the program and of a driver: %x, %x\n", Told, removed);
}

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    check_tables();
    check_security(driver);
    check_files();
    check_rest();
    check_notifications();
    DbgPrint("foreign: more that drivers use: %u checks, %u wrong\n", Checks, Failed);
    driver->DriverUnload = unload;
    return STATUS_SUCCESS;
}
