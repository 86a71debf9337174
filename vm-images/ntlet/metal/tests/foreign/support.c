/* What compilers' runtime libraries put into every driver: the security cookie, and where the loader finds it. */
#include "wdm.h"

ULONGLONG __security_cookie = DEFAULT_COOKIE;

void __security_check_cookie(ULONGLONG cookie)
{
    if (cookie != __security_cookie)
        KeBugCheckEx(0xF7, cookie, __security_cookie, ~__security_cookie, 0);
}

/* IMAGE_LOAD_CONFIG_DIRECTORY64, up to the cookie. */
const struct { ULONG Size; ULONG Others[21]; ULONGLONG *SecurityCookie; ULONGLONG HandlerTable, HandlerCount; } _load_config_used = {
    .Size = 112, .SecurityCookie = &__security_cookie,
};
_Static_assert(sizeof(_load_config_used) == 112 && __builtin_offsetof(__typeof__(_load_config_used), SecurityCookie) == 88, "layout");
