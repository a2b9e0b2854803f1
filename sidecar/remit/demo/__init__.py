"""The product at work: three agents on board customers twice, first without Remit and then with it."""
