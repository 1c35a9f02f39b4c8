/*
 * What a PC's firmware leaves in memory for the operating system, as far as software without a
 * driver of its own relies on it: the real-mode interrupt vectors and handlers for the hardware
 * interrupts, the BIOS data area, the reset vector. The devices are left programmed to match by
 * platform_create.
 *
 *   0x00000  interrupt vectors                    0x9f000  extended BIOS data area, its size first
 *   0x00400  BIOS data area                       0xff000  handlers
 *   0x0046c  ticks of IRQ 0 since midnight        0xffff0  reset vector, date, model
 */
#ifndef VTXSIM_SIM_LOADERS_FIRMWARE_H
#define VTXSIM_SIM_LOADERS_FIRMWARE_H

#include "sim/loaders/loader.h"

/* Bytes at the top of the first MiB that the firmware's code occupies. */
#define FIRMWARE_CODE_START 0xff000ull

/* Call it before loader_load, whose image may replace any of it. Returns 0 or target->write's
 * error. */
int firmware_install(const struct loader_target *target);

#endif
