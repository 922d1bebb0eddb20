"""What becomes of mail after it has left: reports are kept, matched to recipients, and recorded."""
