"""Rules the hub applies to every connector alike. A policy that raises leaves the message un-acked: they fail closed."""
