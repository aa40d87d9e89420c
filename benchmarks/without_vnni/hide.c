/* Hides AVX-512, VNNI and AMX from a process, so that libraries choose the code they would choose on
 * an x86-64 processor that has AVX2 and no more.
 *
 * Linux lets a process ask that CPUID faults (arch_prctl ARCH_CPUID, Intel processors). The fault is
 * taken here: CPUID runs, the bits are cleared, and the process goes on after the instruction. New
 * threads inherit it. What the loader and libc looked up before this library was loaded stays. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define BIT(number) (1u << (number))

/* leaf 7, subleaf 0: AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
static const unsigned hidden_ebx =
    BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31);
/* VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
static const unsigned hidden_ecx = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14);
/* 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, FP16, AMX-TILE, AMX-INT8 */
static const unsigned hidden_edx = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25);
/* subleaf 1: AVX-VNNI, AVX512-BF16 */
static const unsigned hidden_eax = BIT(4) | BIT(5);

static int let_cpuid_fault(int faulting) {
    return (int)syscall(SYS_arch_prctl, ARCH_SET_CPUID, faulting ? 0 : 1);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (instruction[0] != 0x0f || instruction[1] != 0xa2) { /* a real fault, not CPUID */
        signal(number, SIG_DFL);
        return;
    }
    unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX];
    unsigned eax, ebx, ecx, edx;
    let_cpuid_fault(0);
    __asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(leaf), "c"(subleaf));
    let_cpuid_fault(1);
    if (leaf == 7 && subleaf == 0) {
        ebx &= ~hidden_ebx;
        ecx &= ~hidden_ecx;
        edx &= ~hidden_edx;
    } else if (leaf == 7 && subleaf == 1) {
        eax &= ~hidden_eax;
    }
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, NULL);
    if (let_cpuid_fault(1) != 0) {
        perror("This processor or kernel does not let CPUID fault");
        exit(1);
    }
}
