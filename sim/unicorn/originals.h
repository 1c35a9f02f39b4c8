/*
 * Functions inside the Unicorn library. ORIGINAL(name) is the library's own version of a function
 * that the engine replaces; the others are called directly.
 */
#ifndef VTXSIM_SIM_UNICORN_ORIGINALS_H
#define VTXSIM_SIM_UNICORN_ORIGINALS_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/unicorn/layout.h"

#define ORIGINAL(name)                                             \
    ({                                                             \
        static __typeof__(&name) original;                         \
        if (!original)                                             \
            original = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        original;                                                  \
    })

/* Called. */
_Noreturn void cpu_loop_exit_x86_64(void *cs);
bool cpu_restore_state_x86_64(void *cs, uintptr_t address, bool will_exit);
uint32_t cpu_cc_compute_all_x86_64(struct env *env, int cc_op);
void tlb_set_page_x86_64(void *cs, uint64_t linear, uint64_t physical, int protection, int mmu_idx,
                         uint64_t size);
void tlb_flush_x86_64(void *cs);
void tlb_flush_page_x86_64(void *cs, uint64_t linear);
void tlb_reset_dirty_x86_64(void *cs, uint64_t start, uint64_t length);
uint64_t tcg_code_size_x86_64(void *tcg);
uint64_t tcg_code_capacity_x86_64(void *tcg);
void *tcg_temp_new_internal_x86_64(void *tcg, int type, bool local);
void tcg_temp_free_internal_x86_64(void *tcg, void *temp);
struct tcg_operation *tcg_emit_op_x86_64(void *tcg, int opcode);
void tcg_gen_lookup_and_goto_ptr_x86_64(void *tcg);
void tcg_gen_callN_x86_64(void *tcg, void *function, void *result, int count, void **arguments);
void tcg_gen_extu_i32_i64_x86_64(void *tcg, uintptr_t to, uintptr_t from); /* offsets from tcg */
void tcg_func_start_x86_64(void *tcg); /* forgets the operations of the block so far */

/* Replaced. */
void helper_iret_real_x86_64(struct env *env, int shift);
void helper_reset_rf_x86_64(struct env *env);
void helper_iret_protected_x86_64(struct env *env, int shift, int next_eip);
uint64_t helper_le_ldq_mmu_x86_64(struct env *env, uint64_t address, uint32_t oi,
                                  uintptr_t return_address);
void helper_le_stq_mmu_x86_64(struct env *env, uint64_t address, uint64_t value, uint32_t oi,
                              uintptr_t return_address);
const void *helper_lookup_tb_ptr_x86_64(struct env *env);
void helper_bndstx64_x86_64(struct env *env, uint64_t pc, uint64_t size, uint64_t unused1,
                            uint64_t unused2);
void helper_bndldx64_x86_64(struct env *env, uint64_t linear, uint64_t value, uint64_t rip,
                            uint64_t what);
void helper_bndstx32_x86_64(struct env *env, uint64_t pc, uint64_t size, uint64_t whole,
                            uint64_t end);
void helper_load_seg_x86_64(struct env *env, int segment, int selector);
void helper_lret_protected_x86_64(struct env *env, int shift, int addend);
void x86_cpu_exec_enter_x86_64(void *cs);
void x86_cpu_exec_exit_x86_64(void *cs);
void qemu_init_vcpu_x86_64(void *cs);
bool x86_cpu_tlb_fill_x86_64(void *cs, uint64_t linear, int size, int access, int mmu_idx,
                             bool probe, uintptr_t return_address);
bool x86_cpu_exec_interrupt_x86_64(void *cs, int request);
void x86_cpu_do_interrupt_x86_64(void *cs);
_Noreturn void raise_interrupt_x86_64(struct env *env, int vector, int is_int, int error_code,
                                      int next_eip_addend);
_Noreturn void raise_exception_err_x86_64(struct env *env, int vector, int error_code);
_Noreturn void raise_exception_err_ra_x86_64(struct env *env, int vector, int error_code,
                                             uintptr_t return_address);
_Noreturn void raise_exception_x86_64(struct env *env, int vector);
_Noreturn void raise_exception_ra_x86_64(struct env *env, int vector, uintptr_t return_address);
void helper_into_x86_64(struct env *env, int next_eip_addend);
void helper_raise_interrupt_x86_64(struct env *env, int vector, int next_eip_addend);
void helper_raise_exception_x86_64(struct env *env, int vector);
void helper_syscall_x86_64(struct env *env, int next_eip_addend);
void helper_single_step_x86_64(struct env *env);
void helper_rechecking_single_step_x86_64(struct env *env);
void helper_sti_x86_64(struct env *env);
void helper_rdmsr_x86_64(struct env *env);
void helper_wrmsr_x86_64(struct env *env);
void helper_pause_x86_64(struct env *env, int next_eip_addend);
int cpu_watchpoint_address_matches_x86_64(void *cs, uint64_t address, uint64_t length);
void cpu_check_watchpoint_x86_64(void *cs, uint64_t address, uint64_t length, uint32_t attributes,
                                 int flags, uintptr_t return_address);
uint32_t cpu_ldub_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
int cpu_ldsb_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
uint32_t cpu_lduw_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
int cpu_ldsw_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
uint32_t cpu_ldl_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
uint64_t cpu_ldq_mmuidx_ra_x86_64(struct env *env, uint64_t address, int mmu_idx, uintptr_t ra);
void cpu_stb_mmuidx_ra_x86_64(struct env *env, uint64_t address, uint32_t value, int mmu_idx,
                              uintptr_t ra);
void cpu_stw_mmuidx_ra_x86_64(struct env *env, uint64_t address, uint32_t value, int mmu_idx,
                              uintptr_t ra);
void cpu_stl_mmuidx_ra_x86_64(struct env *env, uint64_t address, uint32_t value, int mmu_idx,
                              uintptr_t ra);
void cpu_stq_mmuidx_ra_x86_64(struct env *env, uint64_t address, uint64_t value, int mmu_idx,
                              uintptr_t ra);
uint32_t cpu_ldub_code_x86_64(struct env *env, uint64_t address);
void check_exit_request_x86_64(void *tcg);
void translator_loop_x86_64(const struct translator_operations *operations, struct translator *db,
                            void *cs, struct translation_block *tb, int max_insns);
void gen_intermediate_code_x86_64(void *cs, struct translation_block *tb, int max_insns);
void tcg_gen_op2_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b);
void tcg_gen_op3_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c);
void tcg_gen_op4_x86_64(void *tcg, int opcode, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
void tcg_gen_callN_x86_64(void *tcg, void *function, void *result, int count, void **arguments);
uint64_t helper_cc_compute_all_x86_64(uint64_t dst, uint64_t src1, uint64_t src2, int op);
void tcg_gen_exit_tb_x86_64(void *tcg, struct translation_block *tb, unsigned index);
void restore_state_to_opc_x86_64(struct env *env, struct translation_block *tb, uint64_t *data);
void tcg_tb_insert_x86_64(void *tcg, struct translation_block *tb);
void tb_flush_x86_64(void *cs);
void tlb_protect_code_x86_64(void *uc, uint64_t address);
void tlb_unprotect_code_x86_64(void *uc, uint64_t address);
void tlb_reset_dirty_by_vaddr_x86_64(void *cs, uint64_t start, uint64_t length);
void tb_invalidate_phys_page_fast_x86_64(void *uc, void *pages, uint64_t start, int length,
                                         uintptr_t return_address);
void *find_memory_mapping_x86_64(void *uc, uint64_t address);
void tlb_set_dirty_x86_64(void *cs, uint64_t linear);

#endif
