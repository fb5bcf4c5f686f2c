module channels/{{name}}

go 1.24
