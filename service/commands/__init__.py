"""The sub-commands of `doppel`, each imported only when it is asked for."""
