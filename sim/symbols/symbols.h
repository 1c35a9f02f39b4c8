/*
 * Names for addresses of the guest: from an ELF file, System.map or /proc/kallsyms text, or the
 * tables inside a Linux kernel (bzImage or vmlinux), which is all that a stripped one has.
 */
#ifndef VTXSIM_SIM_SYMBOLS_SYMBOLS_H
#define VTXSIM_SIM_SYMBOLS_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct symbols;

/*
 * Reads the symbols of a file of any kind that is known, told by its content; compressed ones too.
 * Returns 0, or -errno with a message that names the file, the cause and the remedy. Free them
 * with symbols_free.
 */
int symbols_load(struct symbols **symbols, const char *path, char *message, size_t size);
void symbols_free(struct symbols *symbols); /* NULL is fine */

/* How far above the addresses in the file the guest has them (KASLR). 0 at first. */
void symbols_set_offset(struct symbols *symbols, uint64_t offset);
uint64_t symbols_offset(const struct symbols *symbols);

/*
 * The symbol that an address is in and how far into it; NULL if there is none. Of several at one
 * place a global one wins. Valid until symbols_free.
 */
const char *symbols_find(const struct symbols *symbols, uint64_t address, uint64_t *into);

/* The addresses of a symbol, [*start, *end). False if there is no such name. Of several of one
 * name the lowest. */
bool symbols_range(const struct symbols *symbols, const char *name, uint64_t *start, uint64_t *end);

struct symbol {
    uint64_t address; /* in the guest */
    char type;        /* as nm prints it */
    const char *name;
};
size_t symbols_count(const struct symbols *symbols);
/* By address. */
struct symbol symbols_get(const struct symbols *symbols, size_t number);

/* Writes the symbols as an ELF file without code, at their addresses in the guest, for a debugger.
 * The file must be one in which one can go back. Returns 0 or -errno. */
int symbols_write_elf(const struct symbols *symbols, FILE *file);

/*
 * Finds the offset of a Linux kernel that moved (KASLR) from addresses of its instructions: those
 * that cause VM exits are in functions with telling names, and many blocks begin where a function
 * does. Give them one by one, then ask: true if exactly one offset explains them best; it is then
 * set.
 */
enum symbols_hint {
    SYMBOLS_HINT_MSR, /* RDMSR, WRMSR */
    SYMBOLS_HINT_IO,
    SYMBOLS_HINT_CPUID,
    SYMBOLS_HINT_BLOCK, /* a basic block begins */
    SYMBOLS_HINTS
};
struct symbols_guess;
struct symbols_guess *symbols_guess_begin(struct symbols *symbols); /* NULL without memory */
void symbols_guess_add(struct symbols_guess *guess, uint64_t rip, enum symbols_hint hint);
bool symbols_guess_end(struct symbols_guess *guess); /* frees it */

#endif
