/*
 * Setting TOML: a setting's value, and what is allowed for it, as a user reads them. One pair of functions for each
 * type.
 *
 * Owns:    nothing.
 * Threads: any.
 */
#ifndef CONFIG_SETTING_TOML_H
#define CONFIG_SETTING_TOML_H

#include <stdio.h>

#include "config/schema.h"
#include "config/setting_value.h"

/* As a TOML value, which is also how error messages and --print-config show it. */
void setting_write(const struct setting *setting, const struct settings *settings, FILE *output);
void raw_value_write(const struct raw_value *raw, FILE *output);
void toml_string_write(const char *text, FILE *output);

/* What the type and the bounds allow, to stand after "expected". */
void setting_write_allowed(const struct setting *setting, FILE *output);

/* The canonical word of an enum field. */
const char *setting_word_of(const struct setting *setting, int value);

#endif
