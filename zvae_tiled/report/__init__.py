"""What a decode took, how far it is, how far pictures are apart; and figures of a machine."""
