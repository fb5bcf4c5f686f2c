module saf-guests

go 1.24
