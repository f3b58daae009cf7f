package exchange

// An identity assertion authorization grant (ID-JAG) is an identity provider's statement to another authorization server that
// a client acts for a user. Here it is both taken, as an assertion of the jwt-bearer grant (JG4), and given (JG3).
