/*
 * An encoder for the little ACPI machine language that the DSDT needs (ACPI specification, "ACPI
 * Machine Language (AML) Specification"). Objects with a length are opened and closed; everything
 * written in between is their content.
 */
#ifndef VTXSIM_MODELS_AML_H
#define VTXSIM_MODELS_AML_H

#include <stddef.h>
#include <stdint.h>

#define AML_SIZE_MAX  1024
#define AML_DEPTH_MAX 8

struct aml {
    uint8_t data[AML_SIZE_MAX];
    size_t size;
    size_t open[AML_DEPTH_MAX]; /* where the lengths of open objects stand */
    unsigned depth;
};

/* Names are four characters, padded with '_'; a scope's may begin with the root's '\\'. */
void aml_open_scope(struct aml *aml, const char *path);
void aml_open_device(struct aml *aml, const char *name);
void aml_close(struct aml *aml);

void aml_name_integer(struct aml *aml, const char *name, uint8_t value);
/* An EISA identifier: "PNP0A03". */
void aml_name_eisa_id(struct aml *aml, const char *name, const char *id);
void aml_name_package(struct aml *aml, const char *name, const uint8_t *elements, uint8_t count);

/* A buffer of resource descriptors (ACPI specification, "Resource Data Types for ACPI"). */
void aml_open_resources(struct aml *aml, const char *name);
void aml_close_resources(struct aml *aml);
void aml_resource_port(struct aml *aml, uint16_t first, uint8_t count);
void aml_resource_irq(struct aml *aml, unsigned line);

enum aml_space {
    AML_SPACE_MEMORY = 0,
    AML_SPACE_IO = 1,
    AML_SPACE_BUS = 2,
};

/* A range that a bridge hands on to its bus. */
void aml_resource_window(struct aml *aml, enum aml_space space, uint32_t first, uint32_t last);

#endif
