"""Words and rules of mail. No I/O, standard library only; every other package may import it."""
