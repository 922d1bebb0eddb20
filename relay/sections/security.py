"""What is kept out of the database."""

from pydantic import SecretStr

from relay.sections.base import Section


class SecuritySettings(Section):
    """What secrets in the database are encrypted with."""

    #: encrypts the secrets of customers' endpoints; as `env:NAME` or `file:/path`. Empty means by a key in the same
    #: database, so that whoever has a copy of it can sign webhooks
    secret: SecretStr = SecretStr("")
    #: those before it, written alike; they open what is encrypted with them, until `pillarbox webhooks reseal`
    previous_secrets: tuple[SecretStr, ...] = ()
