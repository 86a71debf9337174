/* What the foreign drivers use of WDM, written from the documentation for this test alone. */
#pragma once

typedef unsigned char UCHAR, BOOLEAN, KIRQL;
typedef char CCHAR, KPROCESSOR_MODE;
typedef short CSHORT;
typedef unsigned short USHORT, WCHAR;
typedef int LONG, NTSTATUS;
typedef unsigned int ULONG;
typedef long long LONGLONG;
typedef unsigned long long ULONGLONG, ULONG_PTR, SIZE_T, KSPIN_LOCK;
typedef void *PVOID, *HANDLE, *PETHREAD;

#define NTAPI
#define IMPORT __declspec(dllimport)
#define NULL ((void *)0)
#define TRUE 1
#define FALSE 0
#define NT_SUCCESS(status) ((NTSTATUS)(status) >= 0)
#define CONTAINING_RECORD(address, type, field) ((type *)((char *)(address) - __builtin_offsetof(type, field)))

#define STATUS_SUCCESS 0
#define STATUS_TIMEOUT 0x102
#define STATUS_PENDING 0x103
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_ACCESS_VIOLATION ((NTSTATUS)0xC0000005)
#define STATUS_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010)
#define STATUS_INTEGER_DIVIDE_BY_ZERO ((NTSTATUS)0xC0000094)
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)

typedef struct _UNICODE_STRING { USHORT Length, MaximumLength; WCHAR *Buffer; } UNICODE_STRING;
typedef struct _LIST_ENTRY { struct _LIST_ENTRY *Flink, *Blink; } LIST_ENTRY;
typedef union { struct { ULONG LowPart; LONG HighPart; }; LONGLONG QuadPart; } LARGE_INTEGER;
typedef struct { union { NTSTATUS Status; PVOID Pointer; }; ULONG_PTR Information; } IO_STATUS_BLOCK;
typedef struct { ULONG Length; HANDLE RootDirectory; UNICODE_STRING *ObjectName; ULONG Attributes; PVOID SecurityDescriptor, SecurityQualityOfService; } OBJECT_ATTRIBUTES;

typedef struct { UCHAR Type, Signalling, Size, Reserved; LONG SignalState; LIST_ENTRY WaitListHead; } DISPATCHER_HEADER;
typedef struct { DISPATCHER_HEADER Header; } KEVENT;
typedef struct _KDPC KDPC;
typedef void KDEFERRED_ROUTINE(KDPC *, PVOID, PVOID, PVOID);
struct _KDPC { UCHAR Type, Importance; USHORT Number; PVOID Entry[2]; KDEFERRED_ROUTINE *DeferredRoutine; PVOID DeferredContext, SystemArgument1, SystemArgument2, DpcData; };
typedef struct { DISPATCHER_HEADER Header; ULONGLONG DueTime; LIST_ENTRY TimerListEntry; KDPC *Dpc; ULONG Processor, Period; } KTIMER;
typedef struct { DISPATCHER_HEADER Header; LONG Limit; } KSEMAPHORE;
typedef struct { DISPATCHER_HEADER Header; LIST_ENTRY MutantListEntry; PVOID OwnerThread; UCHAR Abandoned, ApcDisable; } KMUTEX;
typedef struct { volatile LONG Count; PVOID Owner; ULONG Contention; KEVENT Event; ULONG OldIrql; } FAST_MUTEX;

typedef struct _MDL { struct _MDL *Next; CSHORT Size, MdlFlags; PVOID Process, MappedSystemVa, StartVa; ULONG ByteCount, ByteOffset; } MDL;

typedef struct _DEVICE_OBJECT DEVICE_OBJECT;
typedef struct _DRIVER_OBJECT DRIVER_OBJECT;
typedef struct _IRP IRP;
typedef NTSTATUS DRIVER_DISPATCH(DEVICE_OBJECT *, IRP *);
typedef void DRIVER_CANCEL(DEVICE_OBJECT *, IRP *);
typedef void IO_WORKITEM_ROUTINE(DEVICE_OBJECT *, PVOID);

struct _DEVICE_OBJECT { CSHORT Type; USHORT Size; LONG ReferenceCount; DRIVER_OBJECT *DriverObject; DEVICE_OBJECT *NextDevice, *AttachedDevice; IRP *CurrentIrp; PVOID Timer; ULONG Flags, Characteristics; PVOID Vpb, DeviceExtension; ULONG DeviceType; CCHAR StackSize; };
struct _DRIVER_OBJECT { CSHORT Type, Size; DEVICE_OBJECT *DeviceObject; ULONG Flags; PVOID DriverStart; ULONG DriverSize; PVOID DriverSection, DriverExtension; UNICODE_STRING DriverName; UNICODE_STRING *HardwareDatabase; PVOID FastIoDispatch, DriverInit, DriverStartIo; void (*DriverUnload)(DRIVER_OBJECT *); DRIVER_DISPATCH *MajorFunction[28]; };

typedef struct {
    UCHAR MajorFunction, MinorFunction, Flags, Control;
    union { struct { ULONG OutputBufferLength; ULONG Pad1; ULONG InputBufferLength; ULONG Pad2; ULONG IoControlCode; ULONG Pad3; PVOID Type3InputBuffer; } DeviceIoControl; PVOID Others[4]; } Parameters;
    DEVICE_OBJECT *DeviceObject;
    PVOID FileObject, CompletionRoutine, Context;
} IO_STACK_LOCATION;

struct _IRP {
    CSHORT Type; USHORT Size; MDL *MdlAddress; ULONG Flags;
    union { IRP *MasterIrp; PVOID SystemBuffer; } AssociatedIrp;
    LIST_ENTRY ThreadListEntry; IO_STATUS_BLOCK IoStatus;
    KPROCESSOR_MODE RequestorMode; BOOLEAN PendingReturned; CCHAR StackCount, CurrentLocation; BOOLEAN Cancel; KIRQL CancelIrql; CCHAR ApcEnvironment; UCHAR AllocationFlags;
    IO_STATUS_BLOCK *UserIosb; KEVENT *UserEvent; PVOID Overlay[2]; DRIVER_CANCEL *CancelRoutine; PVOID UserBuffer;
    struct { PVOID DriverContext[4]; PETHREAD Thread; PVOID AuxiliaryBuffer; LIST_ENTRY ListEntry; IO_STACK_LOCATION *CurrentStackLocation; PVOID OriginalFileObject; PVOID Rest; } Tail;
};
_Static_assert(sizeof(IO_STACK_LOCATION) == 72 && sizeof(IRP) == 208 && sizeof(KDPC) == 64 && sizeof(KTIMER) == 64, "layout");
_Static_assert(__builtin_offsetof(DRIVER_OBJECT, MajorFunction) == 112 && __builtin_offsetof(DEVICE_OBJECT, DeviceExtension) == 64, "layout");
_Static_assert(__builtin_offsetof(IRP, CancelRoutine) == 104 && __builtin_offsetof(IRP, Tail.CurrentStackLocation) == 184, "layout");

typedef struct { BOOLEAN Removed; LONG IoCount; KEVENT RemoveEvent; } IO_REMOVE_LOCK;
_Static_assert(sizeof(IO_REMOVE_LOCK) == 32, "layout");

typedef struct _IO_CSQ IO_CSQ;
struct _IO_CSQ { ULONG Type; void (*Insert)(IO_CSQ *, IRP *); void (*Remove)(IO_CSQ *, IRP *); IRP *(*PeekNext)(IO_CSQ *, IRP *, PVOID); void (*Acquire)(IO_CSQ *, KIRQL *); void (*Release)(IO_CSQ *, KIRQL); void (*CompleteCanceled)(IO_CSQ *, IRP *); PVOID ReservePointer; };

#define IRP_MJ_CREATE 0
#define IRP_MJ_CLOSE 2
#define IRP_MJ_DEVICE_CONTROL 14
#define IRP_MJ_CLEANUP 18
#define FILE_DEVICE_UNKNOWN 0x22
#define DO_DEVICE_INITIALIZING 0x80
#define DISPATCH_LEVEL 2
#define CTL(number, method) (FILE_DEVICE_UNKNOWN << 16 | (0x800 + (number)) << 2 | (method))

static inline IO_STACK_LOCATION *IoGetCurrentIrpStackLocation(IRP *irp) { return irp->Tail.CurrentStackLocation; }
static inline void IoMarkIrpPending(IRP *irp) { irp->Tail.CurrentStackLocation->Control |= 1; }
/* As the real headers have them: no calls, but CR8 itself. */
static inline KIRQL KeGetCurrentIrql(void) { ULONGLONG level; __asm__ volatile("mov %%cr8, %0" : "=r"(level)); return (KIRQL)level; }
static inline void KeSetIrql(KIRQL level) { __asm__ volatile("mov %0, %%cr8" : : "r"((ULONGLONG)level) : "memory"); }

IMPORT ULONG DbgPrint(const char *format, ...);
IMPORT void DbgBreakPoint(void);
IMPORT int _snprintf(char *buffer, SIZE_T count, const char *format, ...);
IMPORT void RtlInitUnicodeString(UNICODE_STRING *to, const WCHAR *from);
IMPORT NTSTATUS IoCreateDevice(DRIVER_OBJECT *, ULONG, UNICODE_STRING *, ULONG, ULONG, BOOLEAN, DEVICE_OBJECT **);
IMPORT void IoDeleteDevice(DEVICE_OBJECT *);
IMPORT NTSTATUS IoCreateSymbolicLink(UNICODE_STRING *, UNICODE_STRING *);
IMPORT NTSTATUS IoDeleteSymbolicLink(UNICODE_STRING *);
IMPORT void IofCompleteRequest(IRP *, CCHAR);
IMPORT PVOID ExAllocatePool2(ULONGLONG flags, SIZE_T size, ULONG tag);
IMPORT void ExFreePoolWithTag(PVOID, ULONG tag);
IMPORT void KeInitializeEvent(KEVENT *, int, BOOLEAN);
IMPORT LONG KeSetEvent(KEVENT *, LONG, BOOLEAN);
IMPORT NTSTATUS KeWaitForSingleObject(PVOID, int, KPROCESSOR_MODE, BOOLEAN, LARGE_INTEGER *);
IMPORT NTSTATUS KeWaitForMultipleObjects(ULONG, PVOID *, int, int, KPROCESSOR_MODE, BOOLEAN, LARGE_INTEGER *, PVOID);
IMPORT void KeInitializeTimer(KTIMER *);
IMPORT BOOLEAN KeSetTimer(KTIMER *, LARGE_INTEGER, KDPC *);
IMPORT BOOLEAN KeCancelTimer(KTIMER *);
IMPORT void KeInitializeDpc(KDPC *, KDEFERRED_ROUTINE *, PVOID);
IMPORT BOOLEAN KeInsertQueueDpc(KDPC *, PVOID, PVOID);
IMPORT void KeInitializeSpinLock(KSPIN_LOCK *);
IMPORT KIRQL KeAcquireSpinLockRaiseToDpc(KSPIN_LOCK *);
IMPORT void KeReleaseSpinLock(KSPIN_LOCK *, KIRQL);
IMPORT void KeInitializeMutex(KMUTEX *, ULONG);
IMPORT LONG KeReleaseMutex(KMUTEX *, BOOLEAN);
IMPORT void KeInitializeSemaphore(KSEMAPHORE *, LONG, LONG);
IMPORT LONG KeReleaseSemaphore(KSEMAPHORE *, LONG, LONG, BOOLEAN);
IMPORT void IoFreeIrp(IRP *);
IMPORT PVOID IoAllocateWorkItem(DEVICE_OBJECT *);
IMPORT void IoQueueWorkItem(PVOID, IO_WORKITEM_ROUTINE *, int, PVOID);
IMPORT void IoFreeWorkItem(PVOID);
IMPORT void ProbeForRead(const void *, SIZE_T, ULONG);
IMPORT void ProbeForWrite(void *, SIZE_T, ULONG);
IMPORT PVOID MmMapLockedPagesSpecifyCache(MDL *, KPROCESSOR_MODE, int, PVOID, ULONG, ULONG);
IMPORT void ExRaiseStatus(NTSTATUS) __attribute__((noreturn));
IMPORT NTSTATUS IoCsqInitialize(IO_CSQ *, void (*)(IO_CSQ *, IRP *), void (*)(IO_CSQ *, IRP *), IRP *(*)(IO_CSQ *, IRP *, PVOID), void (*)(IO_CSQ *, KIRQL *), void (*)(IO_CSQ *, KIRQL), void (*)(IO_CSQ *, IRP *));
IMPORT void IoCsqInsertIrp(IO_CSQ *, IRP *, PVOID);
IMPORT IRP *IoCsqRemoveNextIrp(IO_CSQ *, PVOID);
IMPORT NTSTATUS PsCreateSystemThread(HANDLE *, ULONG, OBJECT_ATTRIBUTES *, HANDLE, PVOID, void (*)(PVOID), PVOID);
IMPORT NTSTATUS PsTerminateSystemThread(NTSTATUS);
IMPORT NTSTATUS ObReferenceObjectByHandle(HANDLE, ULONG, PVOID, KPROCESSOR_MODE, PVOID *, PVOID);
IMPORT long long ObfDereferenceObject(PVOID);
IMPORT NTSTATUS ZwClose(HANDLE);
IMPORT NTSTATUS ZwOpenKey(HANDLE *, ULONG, OBJECT_ATTRIBUTES *);
IMPORT PVOID MmGetSystemRoutineAddress(UNICODE_STRING *);
IMPORT void KeEnterCriticalRegion(void);
IMPORT NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE, BOOLEAN, LARGE_INTEGER *);
IMPORT DEVICE_OBJECT *IoAttachDeviceToDeviceStack(DEVICE_OBJECT *, DEVICE_OBJECT *);
IMPORT void IoDetachDevice(DEVICE_OBJECT *);
IMPORT NTSTATUS IofCallDriver(DEVICE_OBJECT *, IRP *);
IMPORT NTSTATUS PoCallDriver(DEVICE_OBJECT *, IRP *);
IMPORT void PoStartNextPowerIrp(IRP *);
IMPORT void IoInitializeRemoveLockEx(IO_REMOVE_LOCK *, ULONG tag, ULONG minutes, ULONG highest, ULONG size);
IMPORT NTSTATUS IoAcquireRemoveLockEx(IO_REMOVE_LOCK *, PVOID tag, const char *file, ULONG line, ULONG size);
IMPORT void IoReleaseRemoveLockEx(IO_REMOVE_LOCK *, PVOID tag, ULONG size);
IMPORT void IoReleaseRemoveLockAndWaitEx(IO_REMOVE_LOCK *, PVOID tag, ULONG size);
/* Imported by its number; no kernel has it. */
IMPORT void NumberSeven(void);
IMPORT PVOID MmMapIoSpace(LARGE_INTEGER, SIZE_T, int);
IMPORT NTSTATUS IoConnectInterruptEx(PVOID);
IMPORT void KeBugCheckEx(ULONG, ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR) __attribute__((noreturn));

/* What a driver brings itself: the cookie in its load configuration and the function that checks it. */
#define DEFAULT_COOKIE 0x2B992DDFA232ull
