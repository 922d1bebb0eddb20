"""What the contract has no words for: accounts, senders, keys, suppressions, and mail in every form."""
