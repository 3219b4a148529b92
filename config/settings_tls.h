/*
 * Settings, TLS: the step of settings_resolve() for everything about TLS and HTTP/2 that takes more than one setting
 * to tell: which addresses have TLS, which key goes with which certificate, what the worker class can serve.
 *
 * Owns:    nothing; new text goes to the arena of the settings.
 * Threads: any. Opens no file: who serves reads the certificates, and says what is wrong with them.
 */
#ifndef CONFIG_SETTINGS_TLS_H
#define CONFIG_SETTINGS_TLS_H

#include "config/resolve_step.h"

/* -ENOMEM; or -EINVAL with the complaint. */
[[nodiscard]] int settings_tls_resolve(struct settings *settings, const struct resolve_context *context,
                                       struct resolve_complaint *complaint);

/* Whether any address has TLS. After settings_load(). */
bool settings_have_tls(const struct settings *settings);

#endif
