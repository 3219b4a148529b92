#include "daemon/io/tls_channel_state.h"

bool tls_channel_can_be_muted(const struct tls_channel *channel)
{
    return channel->open && channel->proved && !channel->said_close && !tls_channel_is_failed(channel) &&
           !tls_channel_has_output(channel);
}

void tls_channel_mute(struct tls_channel *channel)
{
    assert(tls_channel_can_be_muted(channel));
    channel->muted = true;
    channel->hello.key_update_asked = false; /* BoringSSL has answered what was asked before */
}

uint32_t *tls_channel_records_sent(struct tls_channel *channel)
{
    return &channel->records_sent;
}

uint64_t tls_channel_received(const struct tls_channel *channel)
{
    return channel->read_bytes;
}

uint8_t tls_channel_alert(const struct tls_channel *channel)
{
    return channel->hello.alert;
}

/* The answer that BoringSSL has ready is written into the void, or it would not make another. */
bool tls_channel_take_key_request(struct tls_channel *channel)
{
    if (!channel->hello.key_update_asked)
        return false;
    channel->hello.key_update_asked = false;
    (void)SSL_write(channel->ssl, "", 0);
    ERR_clear_error();
    return true;
}

bool tls_channel_change_keys(struct tls_channel *channel)
{
    const bool changed =
        SSL_version(channel->ssl) == TLS1_3_VERSION && SSL_key_update(channel->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1;
    if (changed)
        (void)SSL_write(channel->ssl, "", 0);
    ERR_clear_error();
    return changed;
}
