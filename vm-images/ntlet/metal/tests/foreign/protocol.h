/* What the foreign program asks of the foreign drivers. */
#pragma once
#define IOCTL_CHECK CTL(0, 0)       /* run the driver's own checks: two numbers, how many and how many failed */
#define IOCTL_ADD_ONE CTL(1, 0)     /* buffered: each byte comes back larger by one */
#define IOCTL_SUM_IN CTL(2, 1)      /* direct in: a quarter of the sum of the output buffer's bytes, locked for reading, is the information */
#define IOCTL_FILL_OUT CTL(3, 2)    /* direct out: the output buffer is filled with 0x5a */
#define IOCTL_NEITHER CTL(4, 3)     /* neither: reads a byte of the input's address, writes it to the output's */
#define IOCTL_HOLD CTL(5, 0)        /* waits in a cancel-safe queue */
#define IOCTL_RELEASE CTL(6, 0)     /* completes what waits */
#define IOCTL_MISBEHAVE CTL(7, 0)   /* one number: how */
#define IOCTL_SCARCE CTL(8, 0)      /* the framework driver alone: waits as held ones do, in a request of the reserve; the information says so */
#define IOCTL_LOOK CTL(9, 3)        /* the services driver alone: another thread reads the output buffer, looking into the program's process */

enum misbehaviour { OVERRUN = 1, FREE_TWICE, SPIN, COMPLETE_TWICE, TOUCH_AT_DISPATCH, RECURSE, WRONG_IRQL, SMASH_STACK, WRITE_CODE, RUN_DATA, RAISE, FREE_PART,
    FREE_BY_OTHER_TAG, UNDERRUN, RETURN_RAISED, KEEP_A_LOCK, RELEASE_UNHELD, TAKE_TWICE, NULL_AT_DISPATCH, CALL_NULL, WAIT_AT_DISPATCH,
    WORK_RAISED, COMPLETE_PENDING, DEREFERENCE, CRITICAL_REGION, SPIN_IN_DPC, WILD_JUMP, DEADLOCK, FREE_STACK, FAST_FAIL, DIVIDE_AT_DISPATCH,
    RELEASE_MUTEX, RELEASE_SEMAPHORE, ALLOCATE_HIGH, ALLOCATE_PAGED, FREE_IN_USE };
