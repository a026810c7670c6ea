// Includes everything and says nothing: linked into every test program, it makes a definition in a header that is
// not `inline` a link error.
#include <fanfare/app.hpp>
#include <fanfare/core/backlog.hpp>
#include <fanfare/core/mailbox.hpp>
#include <fanfare/fanfare.hpp>
