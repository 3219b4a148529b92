/*
 * Settings text: help, the printed settings, the default file, the manual's lists and the reference page, all out of
 * the table.
 *
 * Owns:    nothing. The caller checks the stream for errors.
 * Threads: any.
 */
#ifndef CONFIG_SETTINGS_TEXT_H
#define CONFIG_SETTINGS_TEXT_H

#include <stdio.h>

#include "config/assignment.h"

void settings_print_help(FILE *output, size_t width);

/* TOML, each value with its origin in a comment; `origins` has one item for each row, NULL for a default. */
void settings_print_values(FILE *output, const struct settings *settings, const struct assignment *const *origins);

/* `defaults` comes from settings_assign_defaults(). */
void settings_print_default_file(FILE *output, const struct settings *defaults);
void settings_print_reference(FILE *output, const struct settings *defaults);

/* What uroboros.toml(5) and uroboros(1) list, in roff with the macros of man(7); packaging/man has the rest. */
void settings_print_manual_settings(FILE *output, const struct settings *defaults);
void settings_print_manual_options(FILE *output);

#endif
