//! Gives each event back: the same data and content type, on echo.<subject>.

const saf = @import("saf");

export fn saf_handle(event: *const saf.Event) saf.Answer {
    return saf.emit(.{
        .subject = saf.join(saf.Text.of("echo."), event.subject),
        .data = event.data,
        .content_type = event.content_type,
    });
}
