/* A framework as somebody else would write it, as far as WDFLDR.SYS is concerned: a driver that registers as KMDF's library. Its clients get a
   table of functions, each of which fails. */
#include "wdm.h"

typedef struct { ULONG Size; const WCHAR *Component; ULONG Major, Minor, Build, FuncCount; PVOID **FuncTable; PVOID Module; } WDF_BIND_INFO;
typedef struct { ULONG Size; UNICODE_STRING *RegistryPath; } CLIENT_INFO;
typedef struct { ULONG Size; NTSTATUS (*Commission)(void), (*Decommission)(void); NTSTATUS (*RegisterClient)(WDF_BIND_INFO *, PVOID *, PVOID *), (*UnregisterClient)(WDF_BIND_INFO *, PVOID); ULONG Major, Minor, Build; } WDF_LIBRARY_INFO;
_Static_assert(sizeof(WDF_LIBRARY_INFO) == 56 && sizeof(CLIENT_INFO) == 16, "layout");

IMPORT NTSTATUS WdfRegisterLibrary(WDF_LIBRARY_INFO *, UNICODE_STRING *, const UNICODE_STRING *);
IMPORT NTSTATUS WdfLdrDiagnosticsValueByNameAsULONG(UNICODE_STRING *, ULONG *);

#define FAILURE ((NTSTATUS)0xdeadbeef)
static PVOID Table[444];
static ULONG Globals;

static NTSTATUS fail(PVOID globals)
{
    DbgPrint("foreign: the library is called, with %s globals\n", globals == &Globals ? "its own" : "other");
    return FAILURE;
}

static NTSTATUS commission(void)
{
    DbgPrint("foreign: the library goes to work\n");
    return STATUS_SUCCESS;
}

static NTSTATUS decommission(void)
{
    DbgPrint("foreign: the library rests\n");
    return STATUS_SUCCESS;
}

static NTSTATUS register_client(WDF_BIND_INFO *info, PVOID *globals, PVOID *context)
{
    CLIENT_INFO *client = *context;
    DbgPrint("foreign: client of %u functions, %wZ\n", info->FuncCount, client->RegistryPath);
    *info->FuncTable = Table;
    *globals = &Globals;
    return STATUS_SUCCESS;
}

static NTSTATUS unregister_client(WDF_BIND_INFO *info, PVOID globals)
{
    DbgPrint("foreign: client gone, with %s globals\n", globals == &Globals ? "its own" : "other");
    return STATUS_SUCCESS;
}

static WDF_LIBRARY_INFO Library = { sizeof Library, commission, decommission, register_client, unregister_client, 1, 15, 0 };

static void unload(DRIVER_OBJECT *driver) { DbgPrint("foreign: the library is unloaded\n"); }

NTSTATUS DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    UNICODE_STRING name;
    ULONG value;
#ifdef GARBAGE
    return FAILURE;
#endif
    for (int at = 0; at < 444; at++) Table[at] = fail;
    driver->DriverUnload = unload;
    RtlInitUnicodeString(&name, L"DbgPrintOn");
    DbgPrint("foreign: setting %x\n", WdfLdrDiagnosticsValueByNameAsULONG(&name, &value));
    Library.Size = 1;
    if (WdfRegisterLibrary(&Library, path, &name) != (NTSTATUS)0xc0000004) return FAILURE;
    Library.Size = sizeof Library;
    NTSTATUS status = WdfRegisterLibrary(&Library, path, &name);
    DbgPrint("foreign: a second library: %x\n", WdfRegisterLibrary(&Library, path, &name));
    return status;
}
